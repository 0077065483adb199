"""The server that imports torch once and forks an isolated child for each job.

It never runs a torch operation and never initialises CUDA itself: a forked child could use neither afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import cast

from mha_lint.findings import Verdict
from mha_lint.validation.child import shared_memory
from mha_lint.validation.child.channel import receive, send, send_text
from mha_lint.validation.child.children import Ended, in_child, remove
from mha_lint.validation.child.messages import Devices, Hello, Judged, Look, Probe, Reach, Request, Validate, Work
from mha_lint.validation.child.warm import Packages
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Probed, Reached


def main(descriptor: int) -> None:
    """Serve requests from the socket ``descriptor`` until the other side closes it, or dies."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # our caller's caller may have it ignored, and that is inherited
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    home = os.getcwd()
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is there any more
            _serve(sock)
    finally:
        remove(home)


@shared_memory.cleaned()  # what the imports of a package left: their process lives as long as jobs come
def _serve(sock: socket.socket) -> None:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        send(sock, Hello(failure=str(error).splitlines()[0] if str(error) else type(error).__name__))
        return
    # What every child needs, imported once; importing runs no torch operation.
    import torch.overrides
    import torch.utils._pytree

    from mha_lint.validation import examine  # noqa: F401
    from mha_lint.validation.child import eager
    from mha_lint.validation.probes import probed  # noqa: F401
    from mha_lint.validation.search import reach  # noqa: F401

    eager.leave_compilation_out()
    send(sock, Hello(torch=str(torch.__version__)))  # said first: the caller need not wait for the rest
    for needed in ("torch.fx.experimental.symbolic_shapes", "numpy.random"):  # every child would import them
        with contextlib.suppress(ImportError):
            importlib.import_module(needed)
    gc.collect()
    gc.freeze()  # keeps the pages of torch shared with the children
    packages = Packages(_confined)
    try:
        while True:
            request: Request = receive(sock, cast("type[Request]", Request))
            if isinstance(request, Look):
                send_text(sock, _devices(request, sock))
            else:
                send_text(sock, _answer(request, packages.run(request, sock)))
    finally:
        packages.stop()


def _devices(look: Look, sock: socket.socket) -> str:
    if not look.cuda:
        return typed_json.dumped(Devices())
    ended = in_child(_name_cuda, sock, look.timeout)
    return ended.answer or typed_json.dumped(Devices(why=f"looking for it failed: {ended.reason}"))


def _name_cuda(tell: Callable[[str], None]) -> Devices:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        return Devices(why="torch sees no CUDA device" if built else "this torch is built without CUDA")
    return Devices(cuda=torch.cuda.get_device_name(0))


def _answer(work: Work, ended: Ended) -> str:
    """The JSON of what the child answered, or of what its end says."""
    if ended.answer is not None:
        return ended.answer
    import torch

    reason = f"{ended.reason} while running {ended.phase or 'nothing yet'}"
    match work:
        case Reach():
            return typed_json.dumped(Reached("", reason=reason))
        case Probe():
            return typed_json.dumped(Probed(reason=reason))
        case Validate():
            # A death while only *after* ran, where *before* had just run alike, is a counterexample.
            died = ended.phase.startswith("after:")
            verdict = Verdict(
                "refuted" if died else "not exercised",
                harness="module" if died else None,
                reason=reason,
                device_names=tuple(sorted(work.devices.items())),
                torch_version=str(torch.__version__),
            )
            files = None if ended.cut else _files(ended.files)  # with more time it may end otherwise
            return typed_json.dumped(Judged(verdict, files))


def _files(noted: str) -> tuple[Dependency, ...] | None:
    """The files that a child had imported and read before it ended."""
    try:
        return typed_json.loaded(noted, tuple[Dependency, ...]) if noted else None
    except typed_json.Malformed:
        return None


def _confined(work: Work, tell: Callable[[str], None]) -> Judged | Reached | Probed:
    """Confine this process, which is a child's, then do the work."""
    from mha_lint.validation import examine
    from mha_lint.validation.child import isolation
    from mha_lint.validation.evidence import dependencies
    from mha_lint.validation.probes import probed
    from mha_lint.validation.search import reach

    dependencies.watch(os.getcwd())
    deadline = time.monotonic() + 0.8 * work.timeout
    isolation.confine(os.getcwd(), work.timeout)
    match work:
        case Reach(asked=reaching):
            return reach.reach(reaching, deadline, tell)
        case Probe(asked=probing, devices=devices):
            return probed.probe(probing, devices, deadline, tell)
        case Validate(job=job, devices=devices):
            verdict = examine.examine(job, devices, deadline, tell)
            return Judged(verdict, dependencies.found())
