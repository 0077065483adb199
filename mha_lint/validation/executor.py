"""What fixing and replaying ask of the place where code is executed: this machine, or the nodes of a cluster."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from mha_lint.findings import Verdict
from mha_lint.validation.job import Environment, Job

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench
    from mha_lint.bench.wanted import Wanted


class Executor(Protocol):
    """Executes jobs, and is a context manager. Safe to call from several threads; ``lanes`` are worth starting.

    :meth:`environment` raises TorchMissing, DeviceMissing or ClusterMissing where nothing can be executed as it was
    asked for, and :meth:`validate` and :meth:`bench` raise the same.
    """

    lanes: int

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self) -> None:
        """Begin what takes long, and return at once. Harmless when begun."""

    def environment(self) -> Environment:
        """Wait until it is known where code is executed."""

    def validate(self, job: Job) -> Verdict:
        """Execute both texts of a job. Whatever the user's code does is a verdict."""

    def bench(self, job: Job, wanted: Wanted) -> Bench:
        """Time both texts of a job that was validated."""

    def close(self) -> None:
        """End whatever runs, and the journal. Harmless when closed."""
