"""The server that imports torch once and forks an isolated child for each job.

It never runs a torch operation and never initialises CUDA itself: a forked child could use neither afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mha_lint.findings import Verdict
from mha_lint.validation.channel import receive, send
from mha_lint.validation.children import in_child, remove
from mha_lint.validation.job import Probed, Reached, job_from_json, verdict_to_json
from mha_lint.validation.warm import Packages


def main(descriptor: int) -> None:
    """Serve requests from the socket ``descriptor`` until the other side closes it, or dies."""
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    home = os.getcwd()
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is there any more
            _run(sock)
    finally:
        remove(home)


def _run(sock: socket.socket) -> None:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        send(sock, {"failure": str(error).splitlines()[0] if str(error) else type(error).__name__})
        return
    # What every child needs, imported once; importing runs no torch operation.
    import torch.overrides
    import torch.utils._pytree

    from mha_lint.validation import eager, examine, probed, reach  # noqa: F401

    eager.leave_compilation_out()

    send(sock, {"torch": torch.__version__})  # said first: the caller need not wait for the rest
    for needed in ("torch.fx.experimental.symbolic_shapes", "numpy.random"):  # every child would import them
        with contextlib.suppress(ImportError):
            importlib.import_module(needed)
    gc.collect()
    gc.freeze()  # keeps the pages of torch shared with the children
    packages = Packages(_work)
    try:
        while True:
            request = receive(sock)
            send(sock, _serve(sock, request, packages))
    finally:
        packages.stop()


def _serve(sock: socket.socket, request: dict[str, Any], packages: Packages) -> dict[str, Any]:
    import torch

    if request["ask"] == "devices":
        if not request["cuda"]:
            return {"torch": torch.__version__, "cuda": None}
        ended = in_child(_name_cuda, sock, float(request["timeout"]))
        answer = ended.answer or {"cuda": None, "why": f"looking for it failed: {ended.reason}"}
        return {"torch": torch.__version__, **answer}
    if request["ask"] in ("reach", "probe"):
        ended = packages.run(request, request["asked"]["path"], request["asked"]["text"], sock)
        reason = f"{ended.reason} while running {ended.phase or 'nothing yet'}"
        return ended.answer or asdict(
            Reached("", reason=reason) if request["ask"] == "reach" else Probed(reason=reason)
        )
    ended = packages.run(request, request["job"]["path"], request["job"]["before"], sock)
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


def _work(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """What a child does: confine itself, then answer."""
    from mha_lint.validation import examine, isolation, probed, reach

    deadline = time.monotonic() + 0.8 * float(request["timeout"])
    isolation.confine(os.getcwd(), float(request["timeout"]))
    if request["ask"] == "reach":
        return asdict(reach.answer(request, deadline, tell))
    if request["ask"] == "probe":
        return asdict(probed.answer(request, deadline, tell))
    verdict = examine.examine(job_from_json(request["job"]), request["devices"], deadline, tell)
    return verdict_to_json(verdict)
