"""The server that imports torch once and forks an isolated child for each job.

It never runs a torch operation and never initialises CUDA itself: a forked child could use neither afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mha_lint.findings import Verdict
from mha_lint.validation.channel import receive, send
from mha_lint.validation.job import job_from_json, verdict_to_json

FOLDER_PREFIX = "mha-lint-"  # of the folder that a server runs in
_ANSWER_LIMIT = 64 << 20  # bytes; no honest answer comes near


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its answer, or None and the reason. ``phase`` is the last one that it announced."""

    answer: dict[str, Any] | None
    phase: str
    reason: str


def main(descriptor: int) -> None:
    """Serve requests from the socket ``descriptor`` until the other side closes it, or dies."""
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    home = os.getcwd()
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is there any more
            _run(sock)
    finally:
        _remove(home)


def _remove(home: str) -> None:
    """Remove the folder that the linter made for this server: killed, the linter cannot."""
    if os.path.basename(home).startswith(FOLDER_PREFIX):
        shutil.rmtree(home, ignore_errors=True)


def _run(sock: socket.socket) -> None:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        send(sock, {"failure": str(error).splitlines()[0] if str(error) else type(error).__name__})
        return
    # What every child needs, imported once; importing runs no torch operation.
    import torch.overrides
    import torch.utils._pytree

    from mha_lint.validation import examine, reach  # noqa: F401

    send(sock, {"torch": torch.__version__})  # said first: the caller need not wait for the rest
    with contextlib.suppress(ImportError):
        import torch.fx.experimental.symbolic_shapes  # the first backward of every child would import it
    gc.collect()
    gc.freeze()  # keeps the pages of torch shared with the children
    while True:
        request = receive(sock)
        send(sock, _serve(sock, request))


def _serve(sock: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    import torch

    if request["ask"] == "devices":
        if not request["cuda"]:
            return {"torch": torch.__version__, "cuda": None}
        ended = in_child(_name_cuda, sock, float(request["timeout"]))
        answer = ended.answer or {"cuda": None, "why": f"looking for it failed: {ended.reason}"}
        return {"torch": torch.__version__, **answer}
    if request["ask"] == "reach":
        ended = in_child(lambda tell: _reach(request, tell), sock, float(request["timeout"]))
        reason = f"{ended.reason} while running {ended.phase or 'nothing yet'}"
        return ended.answer or {"level": "", "how": "", "reason": reason}
    ended = in_child(lambda tell: _validate(request, tell), sock, float(request["timeout"]))
    if ended.answer is not None:
        return ended.answer
    # A death while only *after* ran, where *before* had just run under the same conditions, is a counterexample.
    died = ended.phase.startswith("after:")
    reason = f"{ended.reason} while running {ended.phase or 'nothing yet'}"
    verdict = Verdict("refuted" if died else "not exercised", harness="module" if died else None, reason=reason)
    names = tuple(sorted(request["devices"].items()))
    return {**verdict_to_json(verdict), "device_names": names, "torch_version": torch.__version__}


def _name_cuda(tell: Callable[[str], None]) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        return {"cuda": None, "why": "torch sees no CUDA device" if built else "this torch is built without CUDA"}
    return {"cuda": torch.cuda.get_device_name(0)}


def _validate(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    from mha_lint.validation import examine, isolation

    deadline = time.monotonic() + 0.8 * float(request["timeout"])
    isolation.confine(os.getcwd(), float(request["timeout"]))
    verdict = examine.examine(job_from_json(request["job"]), request["devices"], deadline, tell)
    return verdict_to_json(verdict)


def _reach(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    from mha_lint.validation import isolation, reach

    deadline = time.monotonic() + 0.8 * float(request["timeout"])
    isolation.confine(os.getcwd(), float(request["timeout"]))
    return asdict(reach.answer(request, deadline, tell))


def in_child(work: Callable[[Callable[[str], None]], dict[str, Any]], sock: socket.socket, timeout: float) -> Ended:
    """Run ``work`` in a forked child with a folder of its own, and kill its process group at ``timeout`` seconds.

    The child reports over a private pipe: lines that announce phases, then one line of JSON.
    """
    folder = tempfile.mkdtemp(prefix="trial-", dir=os.getcwd())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.close(reading)
            sock.close()
            with open(os.devnull, "wb") as sink:
                os.dup2(sink.fileno(), 2)
            os.chdir(folder)
            _point_to(folder)

            def tell(phase: str) -> None:
                os.write(writing, b"phase " + phase.encode() + b"\n")

            answer = work(tell)
            with os.fdopen(writing, "wb", closefd=False) as stream:
                stream.write(b"answer " + json.dumps(answer).encode() + b"\n")
            status = 0
        except BaseException as error:
            with contextlib.suppress(BaseException):
                note = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                os.write(writing, b"failed " + note.encode("utf-8", "replace") + b"\n")
        finally:
            os._exit(status)  # no atexit handler of the user's code runs
    os.close(writing)
    try:
        return _listen(child, reading, sock, timeout)
    finally:
        os.close(reading)
        shutil.rmtree(folder, ignore_errors=True)


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
            cut = f"took longer than {timeout:.0f} s and was killed"
            break
        watched: list[Any] = [reading, sock]
        ready, _, _ = select.select(watched, [], [], left)
        if sock in ready and not sock.recv(1, socket.MSG_PEEK):
            _kill(child)
            _remove(os.getcwd())
            os._exit(0)  # nobody is waiting for the answer any more
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
    status = _kill(child)
    answer, phase, failed = _parse(bytes(received))
    if answer is not None and not cut:
        return Ended(answer, phase, "")
    if cut:
        return Ended(None, phase, f"the child process {cut}")
    if failed:
        return Ended(None, phase, f"the child process failed ({failed})")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Ended(None, phase, f"the child process died of {name}")
    return Ended(None, phase, f"the child process left with exit status {os.WEXITSTATUS(status)}")


def _parse(received: bytes) -> tuple[dict[str, Any] | None, str, str]:
    answer: dict[str, Any] | None = None
    phase = failed = ""
    for line in received.split(b"\n"):
        kind, _, rest = line.partition(b" ")
        match kind:
            case b"phase":
                phase = rest.decode("utf-8", "replace")
            case b"failed":
                failed = rest.decode("utf-8", "replace")
            case b"answer":
                with contextlib.suppress(ValueError):
                    answer = json.loads(rest)
    return answer, phase, failed


def _kill(child: int) -> int:
    """Wait a moment for a child that has answered, then kill its whole group; the wait status."""
    for _ in range(20):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            return status
        time.sleep(0.001)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
