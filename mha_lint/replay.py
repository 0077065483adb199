"""``--replay``: runs the rewrites of an evidence file again, and says where the verdict is another one."""

from __future__ import annotations

from pathlib import Path

from mha_lint.findings import Verdict
from mha_lint.output import say
from mha_lint.report.text import verdict_line
from mha_lint.validation import DeviceMissing, TorchMissing, Validator
from mha_lint.validation.evidence.journal import JournalError, read


class ReplayError(Exception):
    """The evidence cannot be run again; the message says why."""


def replay(path: Path, devices: tuple[str, ...], require: tuple[str, ...], timeout: float) -> bool:
    """Run every recorded rewrite, print a line for each, and return whether all verdicts are the recorded ones.

    Each may take ``timeout`` seconds.
    Raises :class:`ReplayError`.
    """
    try:
        records = read(path)
        same = 0
        with Validator(devices=devices, require=require, timeout=timeout) as validator:
            validator.environment()
            for job, recorded in records:
                verdict = validator.validate(job)
                agrees = _outcome(verdict) == _outcome(recorded)
                same += agrees
                was = "as recorded" if agrees else f"recorded as {recorded.verdict}{_wrong(recorded)}"
                where = f"{job.path}: {', '.join(job.symbols)}: {job.relation}"
                say(f"{where}: {verdict.verdict}, {was} ({verdict_line(verdict)})")
                if verdict.counterexample:
                    say(f"  shown wrong: {verdict.counterexample}")
    except (JournalError, TorchMissing, DeviceMissing) as error:
        raise ReplayError(str(error)) from error
    say(f"{same} of {len(records)} verdicts are as recorded.")
    return same == len(records)


def _outcome(verdict: Verdict) -> tuple[str, bool]:
    return verdict.verdict, bool(verdict.counterexample)


def _wrong(verdict: Verdict) -> str:
    return ", shown wrong" if verdict.counterexample else ""
