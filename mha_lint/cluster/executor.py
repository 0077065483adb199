"""The side of the command: each job goes to the queue of a cluster, and its verdict comes back."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct

from mha_lint.bench.results import Bench
from mha_lint.cluster import node
from mha_lint.cluster.messages import Answer, Request, tool
from mha_lint.cluster.options import INSTALL, Options
from mha_lint.findings import Verdict
from mha_lint.validation.evidence import store, typed_json
from mha_lint.validation.evidence.dependencies import ABSENT, Dependency, digest
from mha_lint.validation.evidence.printable import printable
from mha_lint.validation.job import ClusterMissing, Environment, Job

if TYPE_CHECKING:
    from mha_lint.bench.wanted import Wanted
    from mha_lint.validation.evidence.journal import Journal

_POLL = 0.5  # seconds between two looks at a job
_ASK = 20.0  # seconds between two questions to the scheduler, which answers for all jobs at once
_PREFIX = ".mha_lint_jobs-"  # of the folder of submitit's files, which nodes must see


class _Sent(Struct, frozen=True):
    """A question in the queue: its name, and submitit's job."""

    name: str
    job: Any


class Cluster:
    """An :class:`mha_lint.validation.Executor` whose jobs run on the nodes of a cluster, ``lanes`` at the same time.

    A job without a node's answer has the verdict *unavailable*. Raises ClusterMissing where submitit, or the cluster,
    is not there, or does not know one of the ``options``.
    """

    def __init__(
        self,
        options: Options,
        *,
        devices: tuple[str, ...],
        require: tuple[str, ...],
        timeout: float,
        cache_dir: Path | None,
        journal: Journal | None,
        lanes: int,
    ) -> None:
        self.lanes = lanes
        self._devices, self._require, self._timeout = devices, require, timeout
        self._cache_dir = cache_dir
        self._journal = journal
        self._lock = threading.RLock()  # of all that follows, and of submitit, which is made for one thread
        self._is_over = threading.Event()
        self._sent: list[_Sent] = []  # what has not been answered
        self._first: _Sent | None = None  # the question what the environment is
        self._scheduler_asked = time.monotonic()
        self._environment: Environment | None = None
        self._temporary = None if options.folder else _made()
        try:
            self._queue = _queue(options, options.folder or self._temporary or Path())
        except BaseException:
            self._remove_folder()
            raise

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Ask a node for its environment, and return at once. Harmless when asked."""
        with self._lock, contextlib.suppress(ClusterMissing):  # who asks for the environment is told
            if self._first is None:
                self._first = self._submitted(self._request())

    def environment(self) -> Environment:
        """Wait until a node has told its versions and devices. Raises ClusterMissing where it did not."""
        with self._lock:
            if self._environment is None:
                self._first = self._first or self._submitted(self._request())
                answer = self._answer(self._first)
                if answer.environment is None:
                    raise ClusterMissing(f"validation on the cluster is unavailable: {answer.failure}")
                self._environment = answer.environment
            return self._environment

    def validate(self, job: Job) -> Verdict:
        """The verdict of a node, or of an earlier run on the very same bytes.

        Raises what :meth:`environment` raises.
        """
        environment = self.environment()
        verdict = store.recall(self._cache_dir, job, environment) if self._cache_dir else None
        if verdict is None:
            answer = self._asked(job)
            environment = answer.environment or environment
            verdict = answer.verdict or Verdict("unavailable", reason=answer.failure)
            if self._cache_dir:
                store.record(self._cache_dir, job, environment, verdict, answer.files)
        if self._journal is not None:
            with self._lock:
                self._journal.add(job, environment, verdict)
        return verdict

    def bench(self, job: Job, wanted: Wanted) -> Bench:
        """The timings of a node. Nothing says that it does nothing else meanwhile, and they are not cached."""
        from mha_lint.bench.store import Record

        answer = self._asked(job, wanted)
        bench = answer.bench or Bench(reason=answer.failure)
        if self._journal is not None:
            with self._lock:
                self._journal.add_bench(Record(job, bench))
        return bench

    def close(self) -> None:
        """Cancel what is queued or runs, remove submitit's files, and end the journal. Harmless when closed."""
        self._is_over.set()
        with self._lock:
            for sent in self._sent:
                with contextlib.suppress(Exception):  # it may have ended, and whoever leaves must get out
                    sent.job.cancel(check=False)
            self._sent.clear()
            self._remove_folder()
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()

    def _remove_folder(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _request(self, job: Job | None = None, wanted: Wanted | None = None) -> Request:
        file = digest(job.path) if job else ""
        return Request(uuid4().hex, tool(), self._devices, self._require, self._timeout, job, file, wanted)

    def _submitted(self, request: Request) -> _Sent:
        """Put a question into the queue. Raises ClusterMissing."""
        with self._lock:
            if self._is_over.is_set():
                raise ClusterMissing("validation is over")
            try:
                job = self._queue.submit(node.answer, typed_json.dumped(request))
            except Exception as error:  # whatever the command of the scheduler said
                raise ClusterMissing(f"the cluster takes no jobs: {_in_one_line(error)}") from error
            sent = _Sent(request.name, job)
            self._sent.append(sent)
            return sent

    def _asked(self, job: Job, wanted: Wanted | None = None) -> Answer:
        """The answer of a node to a question about ``job``, where it saw the files that this machine sees."""
        try:
            answer = self._answer(self._submitted(self._request(job, wanted)))
        except ClusterMissing as error:
            return Answer(failure=str(error))
        for file in answer.files or ():
            if not _is_here(file):
                return Answer(
                    failure=f"the node has other bytes at {file.path}: the project must lie on a shared file system"
                )
        return answer

    def _answer(self, sent: _Sent) -> Answer:
        """Wait for a job, and read its answer. Raises ClusterMissing where the run is over."""
        while not (self._is_over.is_set() or self._has_ended(sent)):
            self._is_over.wait(_POLL)
        if self._is_over.is_set():
            raise ClusterMissing("validation is over")
        try:
            answer = typed_json.loaded(sent.job.result(), Answer, to_show=True)
        except Exception as error:  # its own, or what its process or the scheduler ended with
            return Answer(failure=_end(sent.job, error))
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._sent.remove(sent)
        if answer.name != sent.name:  # numbers of jobs come again, and a folder may hold what another run asked
            return Answer(failure=f"job {sent.job.job_id} of the cluster left no answer but that to another question")
        return answer

    def _has_ended(self, sent: _Sent) -> bool:
        """Look for an answer, and now and then ask the scheduler: left alone, submitit asks every ten minutes."""
        with self._lock:
            now = time.monotonic()
            is_due = now > self._scheduler_asked + _ASK
            if is_due:
                self._scheduler_asked = now
            return bool(sent.job.done(force_check=is_due))


def _made() -> Path:
    """A folder for submitit's files in the working directory, which nodes see if they see the project."""
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=Path.cwd()))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ClusterMissing(f"--executor slurm: no folder can be made here ({why}): name one, folder=PATH") from error


def _queue(options: Options, folder: Path) -> Any:
    """submitit's executor. Raises ClusterMissing."""
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise ClusterMissing(INSTALL) from error
    python = {f"{options.cluster}_python": options.python} if options.python else {}
    try:
        queue = AutoExecutor(folder=folder, cluster=options.cluster, **python)
    except (RuntimeError, OSError) as error:
        raise ClusterMissing(f"--executor slurm: {_in_one_line(error)}") from error
    if options.cluster == "slurm":
        _require_states()
    try:
        queue.update_parameters(**options.parameters)
    except (NameError, AssertionError, ValueError, TypeError) as error:
        raise ClusterMissing(f"--executor-option: {_in_one_line(error)}") from error
    return queue


def _require_states() -> None:
    """Raise ClusterMissing where ``sacct`` does not work, by which submitit sees that a job has failed."""
    try:
        done = subprocess.run(["sacct", "--noheader", "--jobs", "0"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ClusterMissing(f"--executor slurm: sacct cannot be run ({error})") from error
    if done.returncode:
        why = " ".join(done.stderr.split())[:200]
        raise ClusterMissing(f"--executor slurm: sacct does not say how a job ended ({why})")


def _is_here(file: Dependency) -> bool:
    """Tell whether a file that a node read, or missed, is the same here; of what is installed, versions tell."""
    if file.size == ABSENT:
        return not Path(file.path).exists()
    return not file.digest or file.digest == digest(file.path)


def _end(job: Any, error: Exception) -> str:
    """Words for a job that ended without an answer: its state, and the last that it printed."""
    said = ""
    for stream in (job.stderr, job.stdout):
        with contextlib.suppress(Exception):
            said = said or (stream() or "").strip().rpartition("\n")[2]
    state = str(job.state).lower()
    return printable(
        f"job {job.job_id} of the cluster ended without a verdict ({state}): {said or _in_one_line(error)}"
    )


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
