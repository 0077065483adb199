"""A process for one package, in which its imports have run; the children that work on its files are forked from it.

Importing a large package takes seconds, and every file in it would pay for that. The process is confined like any child
that runs the user's code, computes nothing itself, and is dropped where forking from it would not be the same as
starting afresh: threads run, CUDA has started, or an import replaced what trials rely on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, cast

from msgspec import Struct

from mha_lint.validation.child import children, imports
from mha_lint.validation.child.channel import receive, send
from mha_lint.validation.child.children import Child, Run
from mha_lint.validation.child.messages import Ended, Imported, Work, file_of
from mha_lint.validation.evidence.typed_json import Malformed

_IMPORTING = "the import of the file"
_PATIENCE = 0.5  # seconds for a process to end what it runs when all is over


class _Running(Struct):
    package: str
    pid: int
    connection: Connection
    folder: str


class _Stale(Struct, frozen=True):
    """A process that has imported a file which has changed since."""


class Packages:
    """The side of a lane of the server: keeps the process of the package that was worked on last."""

    def __init__(self, run: Run) -> None:
        self._running: _Running | None = None
        self._run = run
        self._alone = Child(run)  # for files whose import must not be shared
        self._cold: set[str] = set()  # those files
        self._endless: dict[tuple[str, str], Ended] = {}  # files, as path and text, whose import took too long

    def run(self, work: Work, asker: Connection) -> Ended:
        """Do one piece of work, in a process forked from that of its file's package wherever that will do."""
        file = file_of(work)
        path, _ = file
        if file in self._endless:
            return self._endless[file]
        if path and path not in self._cold:
            ended = self._ask_package(_package_of(path), work, asker)
            if ended is not None:
                return ended
            self._stop_package()
            self._cold.add(path)
        return self._alone.ask(work, asker)

    def _ask_package(self, package: str, work: Work, asker: Connection) -> Ended | None:
        """Have the process of the package do the work; a fresh one where a file that it has imported has changed."""
        if self._running is not None and self._running.package == package:
            asked = self._ask(work, asker)
            if not isinstance(asked, _Stale):
                return asked
        self._stop_package()
        self._running = self._start(package, asker)
        asked = self._ask(work, asker)
        return None if isinstance(asked, _Stale) else asked

    def _start(self, package: str, asker: Connection) -> _Running:
        folder = tempfile.mkdtemp(prefix="package-", dir=os.getcwd())
        ours, theirs = Pipe()
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

    def _ask(self, work: Work, asker: Connection) -> Ended | _Stale | None:
        """First the imports, then the answer, each in time. None: nothing should be forked from that process."""
        running = self._running
        assert running is not None
        try:
            send(running.connection, work)
            if reason := self._waited_in_vain(running.connection, work.timeout, asker):
                ended = Ended(None, _IMPORTING, reason, cut=True)
                self._endless[file_of(work)] = ended  # a fix that is tried later would wait for the same
                return ended
            imported = receive(running.connection, Imported)
            if imported.stale:
                return _Stale()
            if not imported.shared:
                return None
            if reason := self._waited_in_vain(running.connection, work.timeout + 5.0, asker):
                return Ended(None, "", reason, cut=True)
            return receive(running.connection, Ended)
        except (EOFError, OSError, Malformed):
            return Ended(None, _IMPORTING, f"the child process {children.how_it_ended(self._stop_package())}")

    def _waited_in_vain(self, connection: Connection, limit: float, asker: Connection) -> str:
        """Wait for a message, at most ``limit`` seconds. Why there is none; "" where there is one."""
        ready = wait([connection, asker], limit)
        if not ready:
            self._stop_package()
            return f"the child process {children.took_too_long(limit)}"
        if asker in ready:
            self._stop_package()
            return "the child process was overtaken by another request"
        return ""

    def _stop_package(self, patience: float = 0.02) -> int:
        """End the process of the package and whatever it runs; its wait status. It has some seconds to leave."""
        running, self._running = self._running, None
        if running is None:
            return 0
        running.connection.close()
        status = children.kill(running.pid, patience)
        shutil.rmtree(running.folder, ignore_errors=True)
        return status

    def stop(self) -> None:
        """End every process."""
        self._stop_package(_PATIENCE)
        self._alone.end()


def _package_of(path: str) -> str:
    place = imports.place_of(path)
    return os.path.join(place.root, place.packages[0]) if place.packages else path


# --- inside the process of a package -----------------------------------------------------------------------------


def _serve_package(connection: Connection, folder: str, run: Run) -> None:
    from mha_lint.validation.child import isolation, tampering
    from mha_lint.validation.evidence import dependencies

    tampering.remember()
    dependencies.watch(folder)
    isolation.confine(folder)
    imported: dict[tuple[str, str], bool] = {}
    worked: list[imports.Way] = []
    child = Child(run)
    while True:
        try:
            work: Work = receive(connection, cast("type[Work]", Work))
        except (EOFError, OSError):
            with isolation.permitted():
                child.end()
            return
        if not dependencies.seem_unchanged():
            send(connection, Imported(shared=False, stale=True))
            continue
        file = file_of(work)
        is_ready = child.is_ready_for(work)
        if not is_ready and file not in imported:
            imported[file] = _import_once(*file, worked)
            os.chdir(folder)
        shared = is_ready or (imported[file] and _can_be_forked())
        send(connection, Imported(shared))
        if shared:
            with isolation.permitted():
                ended = child.ask(work, connection)
            send(connection, ended)


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
