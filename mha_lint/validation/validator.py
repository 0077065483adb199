"""The side of validation that lives in the linter's own process: starts the server, asks it, keeps the evidence."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, TypeVar

from msgspec import Struct

import mha_lint
from mha_lint.findings import Verdict
from mha_lint.validation.child import eager
from mha_lint.validation.child.channel import receive, send
from mha_lint.validation.child.children import FOLDER_PREFIX
from mha_lint.validation.child.messages import (
    Devices,
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
from mha_lint.validation.evidence import store
from mha_lint.validation.evidence.journal import Journal
from mha_lint.validation.evidence.printable import printable
from mha_lint.validation.evidence.typed_json import Malformed
from mha_lint.validation.job import (
    DeviceMissing,
    Environment,
    Job,
    Probed,
    Probing,
    Reached,
    Reaching,
    TorchMissing,
)
from mha_lint.validation.torch_versions import OLDEST, is_too_old

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench
    from mha_lint.bench.wanted import Wanted

Kind = TypeVar("Kind")
INSTALL = 'validation needs PyTorch, which this Python cannot import: pip install "mha-lint[torch]"'
UPGRADE = 'validation needs PyTorch {} or newer, and finds {}: pip install --upgrade "mha-lint[torch]"'
_SILENT = (OSError, EOFError, Malformed)  # the server is gone, or says what makes no sense
TIMEOUT = 120.0  # seconds for a job, unless said otherwise
_LEAST_MEMORY = 1 << 30  # bytes for a job, however many run at the same time
NEEDS_POSIX = "validation is unavailable: it needs a POSIX system, where processes can be forked"

# What a forked child may see of the caller's environment: what finding Python, libraries and the GPU needs, no secrets.
_KEPT = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD")
_KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "CONDA_PREFIX")
_FIXED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what deterministic cuBLAS asks for
    "NVIDIA_TF32_OVERRIDE": "0",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking whether there is CUDA must not start it: children are forked later
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    **eager.ENVIRONMENT,
}
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from mha_lint.validation.child.server import main; main(int(sys.argv[2]))"
)


class _Lane(Struct):
    """A process of the server that does one piece of work at a time; ``file`` is the one that it worked on last."""

    connection: Connection
    file: str = ""


class Validator:
    """Validates rewrites by executing them; a context manager. Safe to call from several threads.

    ``devices`` is ("auto",) or names out of "cpu" and "cuda". What is named there, or in ``require``, must exist.
    ``timeout`` is in seconds and holds for one job. ``journal`` gets every job and its verdict. At most ``lanes`` jobs
    run at the same time.
    """

    def __init__(
        self,
        *,
        devices: tuple[str, ...] = ("auto",),
        require: tuple[str, ...] = (),
        cache_dir: Path | None = None,
        timeout: float = TIMEOUT,
        journal: Journal | None = None,
        lanes: int = 1,
    ) -> None:
        self._journal = journal
        self._devices = devices
        self._require = require
        self._cache_dir = cache_dir
        self._timeout = timeout
        self.lanes = lanes
        self._memory = _memory_of(lanes)
        self._lock = threading.RLock()  # of all that follows
        self._places = threading.BoundedSemaphore(lanes)
        self._alone = threading.Lock()  # of who takes all places
        self._free: list[_Lane] = []
        self._is_closed = False
        self._server: subprocess.Popen[bytes] | None = None
        self._orders: Connection | None = None
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._environment: Environment | None = None
        self._torch_version = ""  # once the server has said it
        self._complaints: IO[bytes] | None = None  # what the server prints to its standard error
        self._failure = ""  # why the server cannot be started

    def __enter__(self) -> Validator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and return at once; it imports torch while the caller goes on. Harmless when started."""
        with self._lock:
            self._is_closed = False
            if self._server is not None or not hasattr(os, "fork"):
                return
            package_root = str(Path(mha_lint.__file__).resolve().parent.parent)
            try:
                self._home = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True)
                self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the server
                ours, theirs = Pipe()
                with theirs:
                    self._server = subprocess.Popen(
                        [sys.executable, "-c", _BOOT, package_root, str(theirs.fileno())],
                        cwd=self._home.name,  # an empty folder: no file of the user can shadow a module of the server
                        env=_scrubbed(os.environ),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=self._complaints,
                        pass_fds=(theirs.fileno(),),
                        start_new_session=True,
                    )
            except OSError as error:
                self._failure = f"validation is unavailable: its server cannot be started ({error})"
                self._stop_server()
                return
            self._failure = ""
            self._orders = ours
            self._torch_version = ""

    def environment(self) -> Environment:
        """Wait for torch. Raise TorchMissing where it or ``fork`` is missing, DeviceMissing where a named device is."""
        with self._lock:
            if self._environment is not None:
                return self._environment
            if not hasattr(os, "fork"):
                raise TorchMissing(NEEDS_POSIX)
            wanted = [*self._devices, *self._require]
            unknown = sorted(set(wanted) - {"auto", "cpu", "cuda"})
            if unknown:
                raise DeviceMissing(f"unknown device {unknown[0]!r}: validation knows auto, cpu and cuda")
            torch_version = self._greet()
            found = Devices()
            if "auto" in self._devices or "cuda" in wanted:
                try:
                    found = self._ask(Look(max(self._timeout, 60.0)), Devices)
                except _SILENT as error:
                    raise TorchMissing(
                        f"validation is unavailable: its server died before it knew the devices{self._last_words()}"
                    ) from error
            if found.cuda is None and "cuda" in wanted:
                raise DeviceMissing(f"device cuda was asked for, but {found.why or 'torch sees no CUDA device'}")
            devices: dict[str, str] = {}
            if "auto" in self._devices or "cpu" in wanted:
                devices["cpu"] = _cpu_name()
            if found.cuda is not None and ("auto" in self._devices or "cuda" in wanted):
                devices["cuda"] = found.cuda
            self._environment = Environment(platform.python_version(), torch_version, devices)
            return self._environment

    def validate(self, job: Job) -> Verdict:
        """Execute ``job`` in an isolated child, or recall what an earlier run saw of the very same bytes.

        Raises what :meth:`environment` raises; whatever the user's code does is a verdict.
        """
        environment = self.environment()
        verdict = self._verdict(job, environment)
        if self._journal is not None:
            with self._lock:
                self._journal.add(job, environment, verdict)
        return verdict

    def _verdict(self, job: Job, environment: Environment) -> Verdict:
        if self._cache_dir is not None:
            known = store.recall(self._cache_dir, job, environment)
            if known is not None:
                return known
        judged = self.judge(job)
        if self._cache_dir is not None:
            store.record(self._cache_dir, job, environment, judged.verdict, judged.files)
        return judged.verdict

    def judge(self, job: Job) -> Judged:
        """Execute ``job`` in an isolated child, with no look at the cache; the verdict, and the files that were read.

        Raises what :meth:`environment` raises.
        """
        devices = self.environment().devices
        try:
            return self._ask(Validate(job, devices, self._timeout, self._memory), Judged)
        except (*_SILENT, TorchMissing):
            return Judged(Verdict("not exercised", reason="the validation server died while it ran this rewrite"))

    def reach(self, asked: Reaching) -> Reached:
        """Find out, in an isolated child, whether the code can be run forward and backward on the CPU.

        Raises TorchMissing where torch or ``fork`` is missing.
        """
        try:
            return self._ask(Reach(asked, self._timeout, self._memory), Reached)
        except _SILENT:
            return Reached("", reason="the validation server died while it ran this code")

    def probe(self, asked: Probing) -> Probed:
        """Build and call what is asked for in an isolated child, and try every property of attention on it.

        Raises what :meth:`environment` raises.
        """
        devices = self.environment().devices
        try:
            return self._ask(Probe(asked, devices, self._timeout, self._memory), Probed)
        except _SILENT:
            return Probed(reason="the validation server died while it ran this code")

    def bench(self, job: Job, wanted: Wanted) -> Bench:
        """Time both texts of a job that was validated, or recall what was measured; nothing else runs meanwhile.

        Raises what :meth:`environment` raises.
        """
        from mha_lint.bench import store as benches
        from mha_lint.bench.results import Bench

        environment = self.environment()
        conditions = benches.Conditions(wanted.shapes, wanted.compiled)
        found = benches.recall(self._cache_dir, job, environment, conditions) if self._cache_dir else None
        if found is None:
            work = Time(job, environment.devices, wanted.shapes, wanted.compiled, self._timeout, self._memory)
            try:
                benched = self._ask_alone(work, benches.Benched)
            except _SILENT:
                benched = benches.Benched(Bench(reason="the validation server died while it was timed"), None)
            if self._cache_dir is not None:
                benches.record(self._cache_dir, job, environment, conditions, benched)
            found = benched.bench
        if self._journal is not None:
            with self._lock:
                self._journal.add_bench(benches.Record(job, found))
        return found

    def close(self) -> None:
        """End the server and whatever it runs, and the journal. Harmless when closed."""
        with self._lock:
            self._is_closed = True  # whoever is under way in another thread must not start it again
            self._stop_server()
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()

    def _greet(self) -> str:
        """Wait until the server says that torch is there; torch's version. Starts it where it has died."""
        if self._is_closed:
            raise TorchMissing("validation is over")
        if self._server is None or (self._torch_version and self._server.poll() is not None):
            self._stop_server()
            self.start()
        if self._torch_version:
            return self._torch_version
        if self._orders is None:
            raise TorchMissing(self._failure)
        try:
            hello = receive(self._orders, Hello, to_show=True)
        except _SILENT as error:
            raise TorchMissing(
                f"validation is unavailable: its server died at its start{self._last_words()}"
            ) from error
        if hello.failure:
            missing = hello.failure == "No module named 'torch'"
            raise TorchMissing(INSTALL if missing else f"{INSTALL} ({hello.failure})")
        if is_too_old(hello.torch):
            raise TorchMissing(UPGRADE.format(OLDEST, hello.torch))
        self._torch_version = hello.torch
        return hello.torch

    def _ask(self, work: Work, kind: type[Kind]) -> Kind:
        """Have a free lane do the work. One that fails, or is given up, is closed: the next work gets a fresh one."""
        with self._places:
            return self._ask_lane(work, kind)

    def _ask_alone(self, work: Work, kind: type[Kind]) -> Kind:
        """Have the work done while no other lane does any: wait for theirs, and let them wait."""
        with self._alone, contextlib.ExitStack() as stack:
            for _ in range(self.lanes):
                stack.enter_context(self._places)
            return self._ask_lane(work, kind)

    def _ask_lane(self, work: Work, kind: type[Kind]) -> Kind:
        lane = self._taken(file_of(work)[0])
        try:
            send(lane.connection, work)
            answer = receive(lane.connection, kind, to_show=True)
        except BaseException as error:
            lane.connection.close()  # the lane takes this as the order to end what it runs, and leave
            if isinstance(error, _SILENT):
                self._let_server_end()
            raise
        with self._lock:
            self._free.append(lane)
        return answer

    def _let_server_end(self) -> None:
        """Give a server that is dying, with its lanes, a moment to be gone: the next work is for another one."""
        with self._lock, contextlib.suppress(subprocess.TimeoutExpired):
            if self._server is not None:
                self._server.wait(timeout=0.5)

    def _taken(self, file: str) -> _Lane:
        """A free lane, the one that worked on the file last if there is one; a new one where none is free."""
        with self._lock:
            self._greet()
            assert self._orders is not None
            assert self._server is not None
            for lane in reversed(self._free):
                if lane.file == file:
                    self._free.remove(lane)
                    return lane
            if self._free:
                lane = self._free.pop(0)
                lane.file = file
                return lane
            ours, theirs = Pipe()
            with theirs:
                send(self._orders, Lane())
                send_handle(self._orders, theirs.fileno(), self._server.pid)
            return _Lane(ours, file)

    def _last_words(self) -> str:
        """Return how the server ended and the last line that it printed, in brackets; "" where there is neither."""
        said: list[str] = []
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._server.wait(timeout=2.0)
                said = [signal.Signals(-code).name] if code < 0 else []
        if self._complaints is not None:
            self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - 4096))
            said += self._complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return f" ({printable(': '.join(said)[:300])})" if said else ""

    def _stop_server(self) -> None:
        for lane in self._free:
            lane.connection.close()
        self._free.clear()
        if self._orders is not None:
            self._orders.close()  # the server takes this as the order to leave, and its lanes leave with it
            self._orders = None
        if self._server is not None:
            try:
                self._server.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait()
            self._server = None
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None
        if self._home is not None:
            self._home.cleanup()
            self._home = None


def _memory_of(lanes: int) -> int:
    """The bytes that a job may have where so many run at the same time; 0 where the machine doesn't say."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # such as on Windows
        return 0
    return max(physical // (1 + lanes), _LEAST_MEMORY)


def _scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return {**kept, **_FIXED}


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return f"{platform.machine()} {line.partition(':')[2].strip()}"
    except OSError:
        pass
    return platform.machine()
