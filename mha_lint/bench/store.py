"""The record of what was measured, so that the same bytes are timed once on one machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.bench.results import Bench
from mha_lint.validation.evidence import dependencies, store, typed_json
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Environment, Job


class Benched(Struct, frozen=True):
    """A bench, and the files that the executed code was made of; None: they are not known."""

    bench: Bench
    files: tuple[Dependency, ...] | None


class Record(Struct, frozen=True):
    """One bench as the file of ``--evidence`` keeps it."""

    job: Job
    bench: Bench


class Conditions(Struct, frozen=True):
    """All that a bench depends on besides the job and the machine."""

    shapes: tuple[tuple[int, ...], ...]
    compiled: bool | None


def recall(cache_dir: Path, job: Job, environment: Environment, conditions: Conditions) -> Bench | None:
    """The stored bench, marked as cached; None where there is none, or a file that was imported has changed."""
    known = store.read(_file(cache_dir, job, environment, conditions), Benched)
    if known is None or known.files is None or not dependencies.are_unchanged(known.files):
        return None
    return replace(known.bench, cached=True)


def record(cache_dir: Path, job: Job, environment: Environment, conditions: Conditions, benched: Benched) -> None:
    """Store what was measured. Where nothing was, nothing is kept."""
    if benched.bench.timed and benched.files is not None:
        store.write(_file(cache_dir, job, environment, conditions), benched)


def _file(cache_dir: Path, job: Job, environment: Environment, conditions: Conditions) -> Path:
    facts = [store.key(job, environment), conditions, store.own_source_digest("bench")]
    name = hashlib.sha256(typed_json.dumped(facts, sort=True).encode()).hexdigest()
    return cache_dir / "bench" / f"{name}.json"
