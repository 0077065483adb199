"""``--replay``: runs the rewrites of an evidence file again, and says where the verdict is another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from mha_lint.executors import executor
from mha_lint.findings import Verdict
from mha_lint.output import say
from mha_lint.report.text import verdict_line
from mha_lint.validation import ClusterMissing, DeviceMissing, Executor, TorchMissing
from mha_lint.validation.evidence.dependencies import digest
from mha_lint.validation.evidence.journal import Document, JournalError, Record, differences, read
from mha_lint.validation.evidence.printable import printable


class ReplayError(Exception):
    """The evidence cannot be run again; the message says why."""


def replay(
    path: Path,
    devices: tuple[str, ...],
    require: tuple[str, ...],
    timeout: float,
    cluster: Mapping[str, str] | None = None,
) -> bool:
    """Run every recorded rewrite, print a line for each, and return whether all verdicts are the recorded ones.

    Each may take ``timeout`` seconds. A file that is not what the run left is told, and its rewrites are not run: what
    was recorded says nothing of it. ``cluster`` is as for :func:`mha_lint.executors.executor`.
    Raises :class:`ReplayError`.
    """
    try:
        document = read(path)
        with executor(cluster, devices=devices, require=require, timeout=timeout) as runs:
            for difference in differences(document, runs.environment()):
                say(printable(difference))
            same = sum([_holds(record, document, runs) for record in document.records])
    except (JournalError, TorchMissing, DeviceMissing, ClusterMissing) as error:
        raise ReplayError(str(error)) from error
    say(f"{same} of {len(document.records)} verdicts are as recorded.")
    return same == len(document.records)


def _holds(record: Record, document: Document, runs: Executor) -> bool:
    """Run one rewrite, print a line, and return whether its verdict is the recorded one."""
    recorded = record.verdict
    file = document.place_of(record.job.path)
    job = replace(record.job, path=str(file))
    where = printable(f"{job.path}: {', '.join(job.symbols)}: {job.relation}")
    if document.files.get(record.job.path, digest(file)) != digest(file):
        why = "the file is not what that run left" if file.is_file() else "there is no such file here"
        say(f"{where}: not executed, recorded as {recorded.verdict}: {why}")
        return False
    verdict = runs.validate(job)
    agrees = _outcome(verdict) == _outcome(recorded)
    was = "as recorded" if agrees else f"recorded as {recorded.verdict}{_wrong(recorded)}"
    say(f"{where}: {verdict.verdict}, {was} ({verdict_line(verdict)})")
    if verdict.counterexample:
        say(f"  shown wrong: {verdict.counterexample}")
    return agrees


def _outcome(verdict: Verdict) -> tuple[str, bool]:
    return verdict.verdict, bool(verdict.counterexample)


def _wrong(verdict: Verdict) -> str:
    return ", shown wrong" if verdict.counterexample else ""
