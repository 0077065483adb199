"""Child processes that run the user's code: forked with a folder of their own, killed as a group.

A child works on one file. It serves one piece of work after another, as long as each ends well: after a refusal, a
crash or anything else that may leave traces in the process, the next piece gets a fresh child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from typing import cast

from msgspec import Struct, field

from mha_lint.validation.child import channel, shared_memory
from mha_lint.validation.child.messages import (
    Answered,
    Ended,
    Failed,
    Noted,
    Outdated,
    Phase,
    Said,
    Work,
    file_of,
)
from mha_lint.validation.evidence import dependencies, typed_json
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.evidence.typed_json import Malformed

FOLDER_PREFIX = "mha-lint-"  # of the folder that a server runs in
_PR_SET_PDEATHSIG = 1
Tell = Callable[[str], None]  # announces what is about to run
Run = Callable[[Work, Tell], Answered]  # confines its process, the first time, then does the work


class Child(Struct):
    """A process that works on the file at ``path``; None where it has not been started, or has ended."""

    run: Run
    path: str = ""
    _pid: int = 0
    _folder: str = ""
    _connection: Connection | None = None
    _left: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)  # removes what it leaves

    def is_ready_for(self, work: Work) -> bool:
        """Tell whether it runs already, and works on the same file."""
        return self._connection is not None and self.path == file_of(work)[0]

    def ask(self, work: Work, asker: Connection) -> Ended:
        """Have the work done within its time. Whatever becomes readable at ``asker`` cuts it short."""
        heard = _Heard(is_outdated=True)
        while heard.is_outdated:  # a fresh one is not
            if not self.is_ready_for(work):
                self.end()
                self._start(work, asker)
            heard = _Heard()
            ended = self._listen(work, asker, heard)
            if ended is not None:
                return ended
            if heard.is_outdated:
                self.end()
        if heard.answer is None or not heard.again:
            self.end()
        if heard.answer is not None:
            return Ended(heard.answer, heard.phase, "", heard.files)
        return Ended(None, heard.phase, f"the child process failed ({heard.failure})", heard.files, failed=True)

    def end(self) -> int:
        """End the process and whatever it started; its wait status."""
        if self._connection is None:
            return 0
        self._connection.close()
        self._connection = None
        status = kill(self._pid)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._left.close()
        return status

    def _start(self, work: Work, asker: Connection) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, by a caller or an import, no child can be waited for
        self.path, _ = file_of(work)
        self._folder = tempfile.mkdtemp(prefix="trial-", dir=os.getcwd())
        self._left.enter_context(shared_memory.cleaned())
        self._connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._connection.close()
                asker.close()
                settle(self._folder)
                _serve(theirs, self.run)
            finally:
                os._exit(1)  # no atexit handler of the user's code runs
        theirs.close()

    def _listen(self, work: Work, asker: Connection, heard: _Heard) -> Ended | None:
        """Hear what the child says until its work is over; the end where it did not come to that by itself."""
        assert self._connection is not None
        deadline = time.monotonic() + work.timeout
        try:
            channel.send(self._connection, work)
            while not heard.is_over:
                left = deadline - time.monotonic()
                ready = wait([self._connection, asker], left) if left > 0 else []
                if not ready:
                    return self._cut(took_too_long(work.timeout), heard)
                if asker in ready:
                    return self._cut("was overtaken by another request", heard)
                heard.note(channel.receive(self._connection, cast("type[Said]", Said)))
        except (EOFError, OSError):
            words = f"the child process {how_it_ended(self.end())}"
            return Ended(None, heard.phase, words, heard.files)
        except Malformed:
            self.end()
            return Ended(None, heard.phase, "the child process said what makes no sense", heard.files)
        return None

    def _cut(self, why: str, heard: _Heard) -> Ended:
        self.end()
        return Ended(None, heard.phase, f"the child process {why}", heard.files, cut=True)


class _Heard(Struct):
    """All that a child has said of the work under way."""

    answer: str | None = None
    again: bool = False
    phase: str = ""
    failure: str = ""
    files: str = ""
    is_outdated: bool = False
    is_over: bool = False

    def note(self, said: Said) -> None:
        match said:
            case Phase(words):
                self.phase = words
            case Noted(files):
                self.files = files
            case Failed(note):
                self.failure, self.is_over = note, True
            case Outdated():
                self.is_outdated = self.is_over = True
            case Answered(text, again):
                self.answer, self.again, self.is_over = text, again, True


class _Telling(Struct):
    """Announces phases to the process that listens, and what was imported and read where that is more than before."""

    connection: Connection
    told: list[Dependency] = field(default_factory=list)

    def __call__(self, phase: str) -> None:
        files = dependencies.found()
        if len(files) > len(self.told):
            self.told[:] = files
            channel.send(self.connection, Noted(typed_json.dumped(files)))
        channel.send(self.connection, Phase(phase))


def _serve(connection: Connection, run: Run) -> None:
    """Do one piece of work after another, in the child. Leaves the process at the end."""
    again = is_fresh = True
    while again:
        work: Work = channel.receive(connection, cast("type[Work]", Work))
        if not is_fresh and not dependencies.seem_unchanged():
            channel.send(connection, Outdated())
            return
        is_fresh = False
        try:
            answered = run(work, _Telling(connection))
        except BaseException as error:
            note = f"{type(error).__name__}: {error}".splitlines()[0][:300].removesuffix(": ")
            channel.send(connection, Failed(note))
            return
        channel.send(connection, answered)
        again = answered.again
    os._exit(0)


def settle(folder: str) -> None:
    """Make this process, just forked, one of its own that lives in ``folder`` and dies with its parent."""
    os.setsid()
    die_with_parent()
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
    os.chdir(folder)
    _point_to(folder)


def die_with_parent() -> None:
    """Have the kernel end this process when the one that forked it ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _point_to(folder: str) -> None:
    """Send whatever the user's code and torch want to keep into ``folder``."""
    for name in ("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR",
                 "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH"):  # fmt: skip
        os.environ[name] = folder
    tempfile.tempdir = folder
    sys.dont_write_bytecode = True


def took_too_long(limit: float) -> str:
    """The words for a child that was killed after ``limit`` seconds."""
    return f"took longer than {limit:g} s and was killed"


def how_it_ended(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"left with exit status {os.WEXITSTATUS(status)}"


def kill(child: int, patience: float = 0.02) -> int:
    """Wait a moment, in seconds, for a child that was told to leave, then kill its whole group; the wait status."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            return status
        time.sleep(0.001)
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
