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
from dataclasses import dataclass
from typing import Any, cast

from mha_lint.validation.child import children, imports
from mha_lint.validation.child.channel import receive, send
from mha_lint.validation.child.children import Ended
from mha_lint.validation.child.messages import Imported, Work, file_of
from mha_lint.validation.evidence.typed_json import Malformed

_IMPORTING = "the import of the file"
Run = Callable[[Work, Callable[[str], None]], object]  # confines its process, then does the work


@dataclass(slots=True)
class _Running:
    package: str
    pid: int
    sock: socket.socket
    folder: str


@dataclass(frozen=True, slots=True)
class _Stale:
    """A process that has imported a file which has changed since."""


class Packages:
    """The server's side: keeps the process of the package that was worked on last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._running: _Running | None = None
        self._cold: set[str] = set()  # files whose import must not be shared
        self._endless: dict[tuple[str, str], Ended] = {}  # files, as path and text, whose import took too long

    def run(self, work: Work, asker: socket.socket) -> Ended:
        """Do one piece of work, in a process forked from that of its file's package wherever that will do."""
        file = file_of(work)
        path, _ = file
        package = _package_of(path)
        if file in self._endless:
            return self._endless[file]
        if path not in self._cold:
            ended = self._ask_package(package, work, asker)
            if ended is not None:
                return ended
            self.stop()
            self._cold.add(path)
        return children.in_child(lambda tell: self._run(work, tell), asker, work.timeout)

    def _ask_package(self, package: str, work: Work, asker: socket.socket) -> Ended | None:
        """Have the process of the package do the work; a fresh one where a file that it has imported has changed."""
        if self._running is not None and self._running.package == package:
            asked = self._ask(work, asker)
            if not isinstance(asked, _Stale):
                return asked
        self.stop()
        self._running = self._start(package, asker)
        asked = self._ask(work, asker)
        return None if isinstance(asked, _Stale) else asked

    def _start(self, package: str, asker: socket.socket) -> _Running:
        folder = tempfile.mkdtemp(prefix="package-", dir=os.getcwd())
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                ours.close()
                asker.close()
                children.settle(folder)
                _serve_package(theirs, folder, self._run)
            finally:
                os._exit(0)
        theirs.close()
        return _Running(package, child, ours, folder)

    def _ask(self, work: Work, asker: socket.socket) -> Ended | _Stale | None:
        """First the imports, then the answer, each in time. None: nothing should be forked from that process."""
        running = self._running
        assert running is not None
        try:
            send(running.sock, work)
            if reason := self._waited_in_vain(running.sock, work.timeout, asker):
                ended = Ended(None, _IMPORTING, reason, cut=True)
                self._endless[file_of(work)] = ended  # a fix that is tried later would wait for the same
                return ended
            imported = receive(running.sock, Imported)
            if imported.stale:
                return _Stale()
            if not imported.shared:
                return None
            if reason := self._waited_in_vain(running.sock, work.timeout + 5.0, asker):
                return Ended(None, "", reason, cut=True)
            return receive(running.sock, Ended)
        except (EOFError, OSError, Malformed):
            return Ended(None, _IMPORTING, f"the child process {children.how_it_ended(self.stop())}")

    def _waited_in_vain(self, sock: socket.socket, limit: float, asker: socket.socket) -> str:
        """Wait for a message on ``sock``, at most ``limit`` seconds. Why there is none; "" where there is one."""
        ready, _, _ = select.select([sock, asker], [], [], limit)
        if not ready:
            self.stop()
            return f"the child process {children.took_too_long(limit)}"
        if asker in ready:
            self.stop()
            children.leave_if_closed(asker)
            return "the child process was overtaken by another request"
        return ""

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


def _serve_package(sock: socket.socket, folder: str, run: Run) -> None:
    from mha_lint.validation.child import isolation, tampering
    from mha_lint.validation.evidence import dependencies

    tampering.remember()
    dependencies.watch(folder)
    isolation.confine(folder, None)
    imported: dict[tuple[str, str], bool] = {}
    worked: list[imports.Way] = []
    while True:
        work: Work = receive(sock, cast("type[Work]", Work))
        if not dependencies.seem_unchanged():
            send(sock, Imported(shared=False, stale=True))
            continue
        file = file_of(work)
        if file not in imported:
            imported[file] = _import_once(*file, worked)
            os.chdir(folder)
        shared = imported[file] and _can_be_forked()
        send(sock, Imported(shared))
        if shared:
            send(sock, _in_child(run, work, sock))


def _in_child(run: Run, work: Work, sock: socket.socket) -> Ended:
    from mha_lint.validation.child import isolation

    with isolation.permitted():
        return children.in_child(lambda tell: run(work, tell), sock, work.timeout)


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

    from mha_lint.validation.child import tampering

    with contextlib.suppress(OSError):
        if len(os.listdir("/proc/self/task")) > 1:
            return False
    cuda: Any = torch.cuda
    return threading.active_count() == 1 and not cuda.is_initialized() and not tampering.replaced(tampering.earliest())
