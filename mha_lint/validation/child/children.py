"""Child processes that run the user's code: forked with a folder of their own, heard over a pipe, killed as a group."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mha_lint.validation.child import shared_memory
from mha_lint.validation.evidence import dependencies, typed_json
from mha_lint.validation.evidence.dependencies import Dependency

FOLDER_PREFIX = "mha-lint-"  # of the folder that a server runs in
_ANSWER_LIMIT = 64 << 20  # bytes; no honest answer comes near
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """A child has ended: the JSON of its answer, or None and the reason. ``phase`` is the last that it announced.

    ``files`` is the JSON of what it had imported and read by then; it is ``cut`` where this side ended it.
    """

    answer: str | None
    phase: str
    reason: str
    files: str = ""
    cut: bool = False


@shared_memory.cleaned()
def in_child(work: Callable[[Callable[[str], None]], object], sock: socket.socket, timeout: float) -> Ended:
    """Run ``work`` in a forked child with a folder of its own, and kill its process group at ``timeout`` seconds.

    The child reports over a private pipe: lines that announce phases, then one line of JSON.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, by our caller or an import, no child could be waited for
    folder = tempfile.mkdtemp(prefix="trial-", dir=os.getcwd())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            sock.close()
            settle(folder)

            told: list[Dependency] = []

            def tell(phase: str) -> None:
                """Announce a phase, and what was imported and read where that is more than was said before."""
                files = dependencies.found()
                if len(files) > len(told):
                    told[:] = files
                    _write(writing, b"files " + typed_json.dumped(files).encode("ascii") + b"\n")
                _write(writing, b"phase " + phase.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n")

            answer = work(tell)
            with os.fdopen(writing, "wb", closefd=False) as stream:
                stream.write(b"answer " + typed_json.dumped(answer).encode("ascii") + b"\n")
            status = 0
        except BaseException as error:
            with contextlib.suppress(BaseException):
                note = f"{type(error).__name__}: {error}".splitlines()[0][:300].removesuffix(": ")
                os.write(writing, b"failed " + note.encode("utf-8", "replace") + b"\n")
        finally:
            os._exit(status)  # no atexit handler of the user's code runs
    os.close(writing)
    try:
        return _listen(child, reading, sock, timeout)
    finally:
        os.close(reading)
        shutil.rmtree(folder, ignore_errors=True)


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it: a pipe takes a long message in parts."""
    while data:
        data = data[os.write(descriptor, data) :]


def settle(folder: str) -> None:
    """Make this process, just forked, one of its own that lives in ``folder`` and dies with its parent."""
    os.setsid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
    os.chdir(folder)
    _point_to(folder)


def leave_if_closed(asker: socket.socket) -> None:
    """End this process where nobody is waiting for its answers any more."""
    if not asker.recv(1, socket.MSG_PEEK):
        remove(os.getcwd())
        os._exit(0)


def remove(home: str) -> None:
    """Remove the folder that the linter made for this server: killed, the linter cannot."""
    if os.path.basename(home).startswith(FOLDER_PREFIX):
        shutil.rmtree(home, ignore_errors=True)


def _point_to(folder: str) -> None:
    """Send whatever the user's code and torch want to keep into ``folder``."""
    for name in ("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR",
                 "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH"):  # fmt: skip
        os.environ[name] = folder
    tempfile.tempdir = folder
    sys.dont_write_bytecode = True


def _listen(child: int, reading: int, sock: socket.socket, timeout: float) -> Ended:
    deadline = time.monotonic() + timeout
    received = bytearray()
    cut = ""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            cut = took_too_long(timeout)
            break
        watched: list[Any] = [reading, sock]
        ready, _, _ = select.select(watched, [], [], left)
        if sock in ready and not sock.recv(1, socket.MSG_PEEK):
            kill(child)
            leave_if_closed(sock)
        if reading in ready:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            received += part
            if len(received) > _ANSWER_LIMIT:
                cut = "wrote more than an answer can hold"
                break
        elif ready:
            cut = "was overtaken by another request"
            break
    status = kill(child)
    answer, phase, failed, files = _parse(bytes(received))
    if answer is not None and not cut:
        return Ended(answer, phase, "", files)
    if cut:
        return Ended(None, phase, f"the child process {cut}", files, cut=True)
    if failed:
        return Ended(None, phase, f"the child process failed ({failed})", files)
    return Ended(None, phase, f"the child process {how_it_ended(status)}", files)


def took_too_long(limit: float) -> str:
    """The words for a child that was killed after ``limit`` seconds."""
    return f"took longer than {limit:g} s and was killed"


def how_it_ended(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"left with exit status {os.WEXITSTATUS(status)}"


def _parse(received: bytes) -> tuple[str | None, str, str, str]:
    """The answer, the last phase, the note of a failure and the files."""
    answer: str | None = None
    phase = failed = files = ""
    *lines, _ = received.split(b"\n")  # the last one was not finished
    for line in lines:
        kind, _, rest = line.partition(b" ")
        match kind:
            case b"phase":
                phase = rest.decode("utf-8", "replace")
            case b"files":
                files = rest.decode("ascii", "replace")
            case b"failed":
                failed = rest.decode("utf-8", "replace")
            case b"answer":
                answer = rest.decode("ascii", "replace")
    return answer, phase, failed, files


def kill(child: int) -> int:
    """Wait a moment for a child that has answered, then kill its whole group; the wait status."""
    for _ in range(20):
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
