"""The server that imports torch once and forks lanes, each of which forks isolated children for its work.

Neither runs a torch operation or initialises CUDA itself: a forked child could use neither afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import signal
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import TYPE_CHECKING, cast

from msgspec import Struct, field

from mha_lint.findings import Verdict
from mha_lint.validation.child import children, imports, shared_memory
from mha_lint.validation.child.channel import receive, send, send_text
from mha_lint.validation.child.children import FOLDER_PREFIX, Tell
from mha_lint.validation.child.messages import (
    Answered,
    Devices,
    Ended,
    Hello,
    Judged,
    Lane,
    Look,
    Probe,
    Reach,
    Time,
    Validate,
    Work,
    file_of,
)
from mha_lint.validation.child.packages import Packages
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Probed, Reached
from mha_lint.validation.torch_versions import is_too_old

if TYPE_CHECKING:
    from mha_lint.validation.search.setups import Setup  # it imports torch


_PATIENCE = 1.0  # seconds for lanes to leave


def main(descriptor: int) -> None:
    """Serve orders from the connection ``descriptor`` until the other side closes it, or dies."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # our caller's caller may have it ignored, and that is inherited
    os.set_inheritable(descriptor, False)
    home = os.getcwd()
    try:
        with contextlib.suppress(EOFError, OSError):  # nobody is there any more
            _serve(Connection(descriptor))
        _wait_for_lanes()
    finally:
        if os.path.basename(home).startswith(FOLDER_PREFIX):  # killed, the linter cannot remove it
            shutil.rmtree(home, ignore_errors=True)


def _serve(orders: Connection) -> None:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        send(orders, Hello(failure=str(error).splitlines()[0] if str(error) else type(error).__name__))
        return
    if is_too_old(str(torch.__version__)):
        send(orders, Hello(torch=str(torch.__version__)))
        return
    # What every child needs, imported once; importing runs no torch operation.
    import torch.overrides
    import torch.utils._pytree

    from mha_lint.validation import engine  # noqa: F401
    from mha_lint.validation.child import eager
    from mha_lint.validation.probes import probed  # noqa: F401
    from mha_lint.validation.search import reach  # noqa: F401

    eager.leave_compilation_out()
    send(orders, Hello(torch=str(torch.__version__)))  # said first: the caller need not wait for the rest
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy.random")  # every child would import it
    gc.collect()
    gc.freeze()  # keeps the pages of torch shared with the children
    while True:
        receive(orders, Lane)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)  # a lane may have ended
        _fork_lane(Connection(recv_handle(orders)), orders)


def _fork_lane(asker: Connection, orders: Connection) -> None:
    """Fork a process that does one piece of work after another, as ``asker`` asks for it."""
    if os.fork():
        asker.close()
        return
    try:
        orders.close()
        children.die_with_parent()
        os.chdir(tempfile.mkdtemp(prefix="lane-", dir=os.getcwd()))
        with contextlib.suppress(EOFError, OSError):  # nobody asks any more
            _work(asker)
    finally:
        os._exit(0)


def _wait_for_lanes() -> None:
    """Let the lanes, whose connections are closed by now, end what they run and leave."""
    until = time.monotonic() + _PATIENCE
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)


@shared_memory.cleaned()  # what the imports of a package left
def _work(asker: Connection) -> None:
    packages = Packages(_Worker())
    try:
        while True:
            work: Work = receive(asker, cast("type[Work]", Work))
            send_text(asker, _answer(work, packages.run(work, asker)))
    finally:
        packages.stop()


def _name_cuda() -> Devices:
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
        case Look():
            return typed_json.dumped(Devices(why=f"looking for it failed: {ended.reason}"))
        case Reach():
            return typed_json.dumped(Reached("", reason=reason))
        case Probe():
            return typed_json.dumped(Probed(reason=reason))
        case Time():
            from mha_lint.bench.results import Bench
            from mha_lint.bench.store import Benched

            return typed_json.dumped(Benched(Bench(reason=reason), None))
        case Validate():
            # A death while only *after* ran, where *before* had just run alike, is a counterexample.
            # One that was cut short is none: on a busy machine, anything takes long.
            died = ended.phase.startswith("after:") and not ended.failed and not ended.cut
            verdict = Verdict(
                "refuted" if died else "not exercised",
                harness="module" if died else None,
                reason=reason,
                device_names=tuple(sorted(work.devices.items())),
                torch_version=str(torch.__version__),
            )
            files = None if ended.cut or ended.failed else _files(ended.files)  # with more time it may end otherwise
            return typed_json.dumped(Judged(verdict, files))


def _files(noted: str) -> tuple[Dependency, ...] | None:
    """The files that a child had imported and read before it ended."""
    try:
        return typed_json.loaded(noted, tuple[Dependency, ...]) if noted else None
    except typed_json.Malformed:
        return None


class _Worker(Struct):
    """Does the work in a child. What it knows of the file and its classes serves the work that follows."""

    is_confined: bool = False
    known: list[Setup] = field(default_factory=list)

    def __call__(self, work: Work, tell: Tell) -> Answered:
        from mha_lint.validation import engine
        from mha_lint.validation.child import isolation, torch_settings
        from mha_lint.validation.evidence import dependencies
        from mha_lint.validation.probes import probed
        from mha_lint.validation.search import reach

        if isinstance(work, Look):
            return Answered(typed_json.dumped(_name_cuda()))
        if not self.is_confined:
            dependencies.watch(os.getcwd())
            isolation.confine(os.getcwd(), work.memory)
            self.is_confined = True
        isolation.bound_time(work.timeout)
        deadline = time.monotonic() + 0.8 * work.timeout
        match work:
            case Reach(asked=reaching):
                return Answered(typed_json.dumped(reach.reach(reaching, tell)))
            case Probe(asked=probing, devices=devices):
                return Answered(typed_json.dumped(probed.probe(probing, devices, deadline, tell)))
            case Time():
                return _timed(work, deadline, tell, self.known)
            case Validate(job=job, devices=devices):
                with torch_settings.kept():
                    verdict = engine.examine(job, devices, deadline, tell, self.known)
                imports.leave(imports.place_of(file_of(work)[0]))
                judged = Judged(verdict, dependencies.found())
                return Answered(typed_json.dumped(judged), again=verdict.verdict == "validated")


def _timed(work: Time, deadline: float, tell: Tell, known: list[Setup]) -> Answered:
    """The answer to a question how fast something is; compiling and CUDA leave traces in the process."""
    from mha_lint.bench.measuring import bench
    from mha_lint.bench.store import Benched
    from mha_lint.validation.child import torch_settings
    from mha_lint.validation.evidence import dependencies

    with torch_settings.kept():
        found = bench(work, deadline, tell, known)
    imports.leave(imports.place_of(file_of(work)[0]))
    again = bool(found.timed) and not work.compiled and "cuda" not in work.devices
    return Answered(typed_json.dumped(Benched(found, dependencies.found())), again)
