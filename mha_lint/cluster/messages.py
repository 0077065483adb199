"""What the command asks of a node, and what the node answers."""

from __future__ import annotations

import functools
import hashlib

from msgspec import Struct

import mha_lint
from mha_lint.bench.results import Bench
from mha_lint.bench.wanted import Wanted
from mha_lint.findings import Verdict
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.evidence.store import own_source_digest
from mha_lint.validation.job import Environment, Job


class Asking(Struct, frozen=True):
    """The part of a :class:`Request` that every version can read: its ``name``, which no other one has, and the
    ``tool`` that asks, as :func:`tool` names it.
    """

    name: str
    tool: str


class Request(Struct, frozen=True):
    """One question to a node. Without a ``job``, its environment alone is asked for; with ``wanted``, a bench.

    ``devices``, ``require`` and ``timeout`` are those of a :class:`mha_lint.validation.Validator`. ``digest`` is that
    of the file of the job.
    """

    name: str
    tool: str
    devices: tuple[str, ...]
    require: tuple[str, ...]
    timeout: float
    job: Job | None = None
    digest: str = ""
    wanted: Wanted | None = None


class Answer(Struct, frozen=True):
    """What came of the :class:`Request` of that ``name``; ``failure`` says why nothing was executed.

    ``files`` are those that the executed code was made of; None: they are not known.
    """

    name: str = ""
    failure: str = ""
    environment: Environment | None = None
    verdict: Verdict | None = None
    files: tuple[Dependency, ...] | None = None
    bench: Bench | None = None


@functools.cache
def tool() -> str:
    """This version of mha-lint, down to the bytes of what executes code: both sides must be the same."""
    digest = own_source_digest("validation") + own_source_digest("bench") + own_source_digest("cluster")
    return f"mha-lint {mha_lint.__version__} ({hashlib.sha256(digest.encode()).hexdigest()[:12]})"
