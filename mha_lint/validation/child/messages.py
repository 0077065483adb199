"""Messages between the linter, the validation server and the processes of packages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mha_lint.findings import Verdict
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Job, Probing, Reaching


class Look(msgspec.Struct, frozen=True, tag=True):
    """The question what the CUDA device is."""

    timeout: float  # seconds, as in all of these
    memory: int = 0  # bytes, as in all of these; 0 where there is no bound


class Validate(msgspec.Struct, frozen=True, tag=True):
    """The question what the verdict on ``job`` is. ``devices`` are those of the environment."""

    job: Job
    devices: dict[str, str]
    timeout: float
    memory: int = 0


class Reach(msgspec.Struct, frozen=True, tag=True):
    asked: Reaching
    timeout: float
    memory: int = 0


class Probe(msgspec.Struct, frozen=True, tag=True):
    asked: Probing
    devices: Mapping[str, str]
    timeout: float
    memory: int = 0


class Time(msgspec.Struct, frozen=True, tag=True):
    """The question how fast the texts of ``job`` are. ``shapes``, if any, take the place of the presets.

    With ``compiled``, compiled code is timed as well; None leaves it to the device.
    """

    job: Job
    devices: Mapping[str, str]
    shapes: tuple[tuple[int, ...], ...]
    compiled: bool | None
    timeout: float
    memory: int = 0


Work = Look | Validate | Reach | Probe | Time  # what a lane of the server is asked, and a child of it


class Lane(msgspec.Struct, frozen=True):
    """The order to serve the connection that comes with it, in a process of its own."""


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


class Phase(msgspec.Struct, frozen=True, tag=True):
    """A child is about to run something, named in words."""

    words: str


class Noted(msgspec.Struct, frozen=True, tag=True):
    """The JSON of all the files that a child has imported and read so far."""

    files: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The work raised an error, told in one line, and the child ends."""

    note: str


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The JSON of a child's answer. With ``again``, it can be given more work on the same file."""

    text: str
    again: bool = False


class Outdated(msgspec.Struct, frozen=True, tag=True):
    """A file that the child has imported has changed since: nothing ran, and the work is for a fresh one."""


Said = Phase | Noted | Failed | Answered | Outdated  # all that a child says


class Ended(msgspec.Struct, frozen=True):
    """A piece of work has ended: the JSON of its answer, or None and the reason. ``phase`` is the last announced.

    ``files`` is the JSON of what had been imported and read by then; it is ``cut`` where it was not left to end. What
    ``failed`` was stopped by an error of this package, which says nothing of the user's code.
    """

    answer: str | None
    phase: str
    reason: str
    files: str = ""
    cut: bool = False
    failed: bool = False


class Imported(msgspec.Struct, frozen=True):
    """The imports of a file have run. ``shared`` says that a job on it may be forked from the process they ran in.

    It is ``stale`` where a file that the process imported has changed since: nothing ran, and it must start afresh.
    """

    shared: bool
    stale: bool = False


def file_of(work: Work) -> tuple[str, str]:
    """The path and the text of the file that ``work`` is about; "" where it is about none."""
    match work:
        case Look():
            return "", ""
        case Validate() | Time():
            return work.job.path, work.job.before
    return work.asked.path, work.asked.text
