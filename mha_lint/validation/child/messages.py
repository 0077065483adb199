"""Messages between the linter, the validation server and the processes of packages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mha_lint.findings import Verdict
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Job, Probing, Reaching


class Look(msgspec.Struct, frozen=True, tag=True):
    """The question what there is to run on; ``cuda`` asks for a CUDA device too."""

    cuda: bool
    timeout: float  # seconds, as in all of these


class Validate(msgspec.Struct, frozen=True, tag=True):
    """The question what the verdict on ``job`` is. ``devices`` are those of the environment."""

    job: Job
    devices: dict[str, str]
    timeout: float


class Reach(msgspec.Struct, frozen=True, tag=True):
    asked: Reaching
    timeout: float


class Probe(msgspec.Struct, frozen=True, tag=True):
    asked: Probing
    devices: Mapping[str, str]
    timeout: float


Work = Validate | Reach | Probe  # what runs the user's code
Request = Look | Work


class Hello(msgspec.Struct, frozen=True):
    """The first thing that the server says: torch's version, or why torch could not be imported."""

    torch: str = ""
    failure: str = ""


class Devices(msgspec.Struct, frozen=True):
    """The answer to :class:`Look`: the name of the CUDA device, or why there is none."""

    cuda: str | None = None
    why: str = ""


class Judged(msgspec.Struct, frozen=True):
    """The answer to :class:`Validate`. ``files`` are those that were imported and read; None: they are not known."""

    verdict: Verdict
    files: tuple[Dependency, ...] | None = None


class Imported(msgspec.Struct, frozen=True):
    """The imports of a file have run. ``shared`` says that a job on it may be forked from the process they ran in.

    It is ``stale`` where a file that the process imported has changed since: nothing ran, and it must start afresh.
    """

    shared: bool
    stale: bool = False


def file_of(work: Work) -> tuple[str, str]:
    """The path and the text of the file that ``work`` is about."""
    if isinstance(work, Validate):
        return work.job.path, work.job.before
    return work.asked.path, work.asked.text
