"""A process for one package, in which its imports have run; each job on the package is forked from it.

Importing a large package takes seconds, and every fix in it would pay for that. The process is confined like any child
that runs the user's code, computes nothing itself, and is dropped where forking from it would not be the same as
starting afresh: threads run, CUDA has started, or an import replaced what trials rely on.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mha_lint.validation import children, imports
from mha_lint.validation.channel import receive, send
from mha_lint.validation.children import Ended

Work = Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]
_IMPORTED = {"imported": True}
_COLD = "cold"  # the answer of a process that nothing should be forked from


@dataclass(slots=True)
class _Running:
    package: str
    pid: int
    sock: socket.socket
    folder: str


class Packages:
    """The server's side: keeps the process of the package that was worked on last."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._running: _Running | None = None
        self._cold: set[str] = set()  # files whose import must not be shared

    def run(self, request: dict[str, Any], path: str, text: str, asker: socket.socket) -> Ended:
        """Run one job on the file at ``path``, in a process forked from that of its package wherever that will do."""
        timeout = float(request["timeout"])
        package = _package_of(path)
        if path not in self._cold:
            if self._running is None or self._running.package != package:
                self.stop()
                self._running = self._start(package, asker)
            ended = self._ask({"request": request, "path": path, "text": text}, timeout, asker)
            if ended.reason != _COLD:
                return ended
            self.stop()
            self._cold.add(path)
        return children.in_child(lambda tell: self._work(request, tell), asker, timeout)

    def _start(self, package: str, asker: socket.socket) -> _Running:
        folder = tempfile.mkdtemp(prefix="package-", dir=os.getcwd())
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                ours.close()
                asker.close()
                children.settle(folder)
                _serve_package(theirs, folder, self._work)
            finally:
                os._exit(0)
        theirs.close()
        return _Running(package, child, ours, folder)

    def _ask(self, message: dict[str, Any], timeout: float, asker: socket.socket) -> Ended:
        """First the imports, then the answer, each within ``timeout`` seconds."""
        running = self._running
        assert running is not None
        importing = "the import of the file"
        try:
            send(running.sock, message)
            for limit in (timeout, timeout + 5.0):
                ready, _, _ = select.select([running.sock, asker], [], [], limit)
                if not ready:
                    self.stop()
                    return Ended(None, importing, f"the child process took longer than {limit:.0f} s and was killed")
                if asker in ready:
                    self.stop()
                    children.leave_if_closed(asker)
                    return Ended(None, importing, "the child process was overtaken by another request")
                answer = receive(running.sock)
                if answer != _IMPORTED:
                    return Ended(**answer)
        except (EOFError, OSError, ValueError):
            return Ended(None, importing, f"the child process {children.how_it_ended(self.stop())}")
        raise AssertionError("two messages were received, and neither is the answer")

    def stop(self) -> int:
        """End the process of the package and whatever it runs; its wait status."""
        running, self._running = self._running, None
        if running is None:
            return 0
        running.sock.close()
        status = children.kill(running.pid)
        shutil.rmtree(running.folder, ignore_errors=True)
        return status


def _package_of(path: str) -> str:
    place = imports.place_of(path)
    return os.path.join(place.root, place.packages[0]) if place.packages else path


# --- inside the process of a package -----------------------------------------------------------------------------


def _serve_package(sock: socket.socket, folder: str, work: Work) -> None:
    from mha_lint.validation import isolation, tampering

    tampering.remember()
    isolation.confine(folder, None)
    imported: dict[tuple[str, str], bool] = {}
    worked: list[imports.Way] = []
    while True:
        message = receive(sock)
        file = (message["path"], message["text"])
        if file not in imported:
            imported[file] = _import_once(*file, worked)
            os.chdir(folder)
        if not imported[file] or not _can_be_forked():
            send(sock, asdict(Ended(None, "", _COLD)))
            continue
        send(sock, _IMPORTED)
        send(sock, asdict(_in_child(work, message["request"], sock)))


def _in_child(work: Work, request: dict[str, Any], sock: socket.socket) -> Ended:
    from mha_lint.validation import isolation

    with isolation.permitted():
        return children.in_child(lambda tell: work(request, tell), sock, float(request["timeout"]))


def _import_once(path: str, text: str, worked: list[imports.Way]) -> bool:
    """Run the imports of a file, by running the file; of the file itself nothing is kept. Whether that worked.

    ``worked`` are the ways that worked for other files of the package, the last one first.
    """
    place = imports.place_of(path)
    for way in dict.fromkeys([*worked, *imports.ways(place)]):
        earlier = set(sys.modules)
        try:
            imports.prepare(place, way)
            imports.load(place, "import", text)
        except BaseException:
            imports.forget(place, earlier)
            continue
        sys.modules.pop(place.name, None)
        worked[:] = dict.fromkeys([way, *worked])
        return True
    return False


def _can_be_forked() -> bool:
    import torch

    from mha_lint.validation import tampering

    with contextlib.suppress(OSError):
        if len(os.listdir("/proc/self/task")) > 1:
            return False
    cuda: Any = torch.cuda
    return threading.active_count() == 1 and not cuda.is_initialized() and not tampering.replaced(tampering.earliest())
