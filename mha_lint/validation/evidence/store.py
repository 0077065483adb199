"""The record of what was executed: one JSON file a job and environment, so that the same bytes run once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

import mha_lint
from mha_lint.findings import Verdict
from mha_lint.validation.evidence import dependencies, typed_json
from mha_lint.validation.evidence.dependencies import Dependency
from mha_lint.validation.job import Environment, Job

Kind = TypeVar("Kind")


class Evidence(Struct, frozen=True):
    """A verdict, and the files that the executed code was made of besides the text of the job."""

    verdict: Verdict
    files: tuple[Dependency, ...]


def key(job: Job, environment: Environment) -> str:
    """Hash what the outcome depends on: both texts, the claim, the interpreter, torch, the hardware, this tool."""
    facts = {
        "job": job,
        "python": environment.python,
        "torch": environment.torch_version,
        "devices": environment.devices,
        "tool": mha_lint.__version__,
        "harness": own_source_digest(),
    }
    return hashlib.sha256(typed_json.dumped(facts, sort=True).encode()).hexdigest()


def recall(cache_dir: Path, job: Job, environment: Environment) -> Verdict | None:
    """The stored verdict, marked as cached.

    None when there is none, its file is damaged, or a file that was imported or read is no longer what it was.
    """
    known = read(_file(cache_dir, job, environment), Evidence)
    if known is None or not _is_kept(known.verdict) or not dependencies.are_unchanged(known.files):
        return None
    return replace(known.verdict, cached=True)


def record(
    cache_dir: Path, job: Job, environment: Environment, verdict: Verdict, files: tuple[Dependency, ...] | None
) -> None:
    """Store what was executed. A verdict that nothing was executed for is not evidence and is not kept.

    ``files`` are those that the child imported and read. None says that they are not known: nothing is stored.
    """
    if files is None or not _is_kept(verdict):
        return
    write(_file(cache_dir, job, environment), Evidence(verdict, files))


def read(file: Path, kind: type[Kind]) -> Kind | None:
    """What a file of the cache says; None where there is none, or it is damaged."""
    try:
        return typed_json.loaded(file.read_bytes(), kind)
    except (OSError, typed_json.Malformed):
        return None


def write(target: Path, content: object) -> None:
    """Put a file into the cache, whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(typed_json.dumped(content))
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        return  # a cache that cannot be written only costs time


def _is_kept(verdict: Verdict) -> bool:
    """The verdict is evidence. Nothing is validated without trials: a record that lacks them was damaged."""
    if verdict.verdict == "validated":
        return bool(verdict.trials)
    return verdict.verdict in ("refuted", "shown wrong") or verdict.unshown


def _file(cache_dir: Path, job: Job, environment: Environment) -> Path:
    return cache_dir / "evidence" / f"{key(job, environment)}.json"


def own_source_digest(folder: str = "validation") -> str:
    """Evidence of one state of the harness says nothing of another, and between releases the version stands still."""
    digest = hashlib.sha256()
    for source in sorted(Path(mha_lint.__file__).parent.joinpath(folder).rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()
