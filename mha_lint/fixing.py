"""Findings → candidate edits → validation → the new text of one file.

Candidates of one class and one relation are validated together, and one by one only where that fails. What is
repaired comes first, then what is equivalent, then what is extended: a module that crashes can't show that it is
equivalent to anything. After a round the file is linted again, until nothing new can be validated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from mha_lint import edits as editing
from mha_lint.files import Source, SourceError
from mha_lint.findings import Edit, Finding, Verdict
from mha_lint.linter import lint
from mha_lint.settings import Settings

if TYPE_CHECKING:
    from mha_lint.validation import Job, Validator

MAX_ROUNDS = 4
_ORDER = {"repaired": 0, "corrected": 1, "equivalent": 2, "extended": 3}


@dataclass(frozen=True, slots=True)
class Fixed:
    """``fixed`` findings were validated and are gone from ``text``; ``remaining`` ones are still in it.

    Both carry the verdict of the validation that was tried. Positions of ``fixed`` are those of the text in which the
    finding was made, of ``remaining`` those in ``text``.
    """

    text: str
    fixed: tuple[Finding, ...]
    remaining: tuple[Finding, ...]


def fix_source(source: Source, findings: list[Finding], settings: Settings, validator: Validator) -> Fixed:
    """Validate the fixes of one file's findings and apply those that pass, in memory."""
    fixed: list[Finding] = []
    remaining = list(findings)
    for _ in range(MAX_ROUNDS):
        tried = [f for f in remaining if f.fixable(unsafe=settings.unsafe_fixes) and f.verdict is None]
        if not tried:
            break
        source, done, failed = _round(source, tried, settings, validator)
        fixed += done
        if not done:
            kept = {_place(finding): finding for finding in failed}
            remaining = [kept.get(_place(finding), finding) for finding in remaining]
            break
        remaining = _with_verdicts(_relint(source, settings), failed, [e for f in done if f.fix for e in f.fix.edits])
    return Fixed(source.text, tuple(fixed), tuple(remaining))


def _round(
    source: Source, tried: list[Finding], settings: Settings, validator: Validator
) -> tuple[Source, list[Finding], list[Finding]]:
    """One pass over the candidates: the new text, what was applied, and what was not, with their verdicts."""
    accepted: list[Edit] = []
    done: list[Finding] = []
    failed: list[Finding] = []
    for group in _groups(tried):
        text = editing.apply(source.text, accepted)
        verdict = _validate(source, text, group, accepted, settings, validator)
        alone = (
            [group] if verdict is None or verdict.verdict == "validated" or len(group) == 1 else [[f] for f in group]
        )
        for part in alone:
            if part is not group:
                text = editing.apply(source.text, accepted)
                verdict = _validate(source, text, part, accepted, settings, validator)
            if verdict is None:
                continue  # overlaps with an accepted edit: the next round sees the new text
            judged = [replace(finding, verdict=verdict) for finding in part]
            if verdict.verdict == "validated":
                accepted += _edits(part)
                done += judged
            else:
                failed += judged
    text = editing.apply(source.text, accepted)
    return replace(source, text=text, data=text.encode("utf-8", "surrogatepass")), done, failed


def _groups(findings: list[Finding]) -> list[list[Finding]]:
    def unit(finding: Finding) -> tuple[int, str, str]:
        assert finding.fix is not None
        return _ORDER[finding.fix.relation], finding.symbol.partition(".")[0], finding.fix.applicability

    return [list(group) for _, group in groupby(sorted(findings, key=unit), key=unit)]


def _edits(findings: list[Finding]) -> list[Edit]:
    return [edit for finding in findings if finding.fix for edit in finding.fix.edits]


def _validate(
    source: Source, before: str, group: list[Finding], accepted: list[Edit], settings: Settings, validator: Validator
) -> Verdict | None:
    """The verdict on a group of fixes on top of the accepted ones; None where their edits overlap."""
    try:
        after = editing.apply(source.text, [*accepted, *_edits(group)])
    except ValueError:
        return None
    return validator.validate(_job(source, before, after, group, accepted, settings))


def _job(
    source: Source, before: str, after: str, group: list[Finding], accepted: list[Edit], settings: Settings
) -> Job:
    from mha_lint.validation import Job

    fixes = [finding.fix for finding in group if finding.fix is not None]
    return Job(
        path=str(source.path.absolute()),
        before=before,
        after=after,
        symbols=tuple(dict.fromkeys(finding.symbol for finding in group)),
        relation=fixes[0].relation,
        flagged=tuple(sorted({editing.row_after(row, accepted) for fix in fixes for row in fix.flagged})),
        added=tuple(name for fix in fixes for name in fix.added),
        hints={name: shape for fix in fixes for name, shape in fix.hints},
        identity=tuple(name for fix in fixes for name in fix.identity),
        declared=tuple(each for each in settings.harness if each.belongs_to(source.path.absolute())),
        also=settings.also,
    )


def _relint(source: Source, settings: Settings) -> list[Finding]:
    """Findings of a text that this tool wrote: one that doesn't parse would have failed validation."""
    try:
        return lint(source, settings)
    except SourceError as error:
        raise AssertionError(f"a validated fix left {source.path} unparsable: {error.message}") from error


def _with_verdicts(findings: list[Finding], failed: list[Finding], edits: list[Edit]) -> list[Finding]:
    """Carry the verdicts of failed fixes over to the same findings in the new text."""
    verdicts = {(f.code, editing.row_after(f.location.row, edits), f.message): f.verdict for f in failed}
    return [replace(f, verdict=verdicts.get((f.code, f.location.row, f.message))) for f in findings]


def _place(finding: Finding) -> tuple[str, int, int]:
    return finding.code, finding.location.row, finding.location.column
