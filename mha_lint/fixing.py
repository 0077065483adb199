"""Findings → candidate edits → validation → the new text of one file.

Candidates of one class and one relation are validated together, and one by one only where that fails. What is
repaired comes first: a module that crashes can't show that it is wrong, nor that it is equivalent to anything. What is
corrected comes next: a rewrite is to be held against what the code computes in the end, and one that is equivalent to
the wrong thing could hide it. Then what is equivalent, then what is extended. After a round the file is linted again,
until nothing new can be validated. With ``--bench``, each fix that is equivalent is tried, and timed, by itself.

Findings that have no fix are executed too, last of all, to show that the code is wrong. An error that validation ran
and could not show to be wrong stays a warning.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mha_lint import edits as editing
from mha_lint.definitions import importable
from mha_lint.files import Source, SourceError
from mha_lint.findings import Edit, Finding, Relation, Verdict
from mha_lint.linter import lint
from mha_lint.parsing import parse
from mha_lint.settings import Settings
from mha_lint.succession import Gone, successors, why_gone

if TYPE_CHECKING:
    from mha_lint.bench.results import Bench
    from mha_lint.bench.wanted import Wanted
    from mha_lint.validation import Executor, Job

MAX_ROUNDS = 4
_ORDER: dict[Relation, int] = {"repaired": 0, "corrected": 1, "equivalent": 2, "extended": 3, "comment": 4}
# Files are fixed in several threads, so that their validations run at the same time. All else takes turns: linting
# changes the filters of warnings, the limit of recursion and the size of stacks, which threads share.
TURN = threading.Lock()
Timings = tuple[tuple[Finding, "Bench"], ...]
Within = Callable[[Source, list[Finding]], list[Finding]]
_Validate = Callable[[list[Finding], list[Finding]], Verdict | None]  # of a group, on top of others


class Fixed(Struct, frozen=True):
    """``fixed`` findings were validated and are gone from ``text``; ``remaining`` ones are still in it.

    Both carry the verdict of the validation that was tried. That of a ``remaining`` one is on its fix alone, never on
    a group, in which another fix may have been the wrong one. Positions of ``fixed`` are those of the text in which the
    finding was made, which ``texts`` has for each; those of ``remaining`` are those in ``text``. ``benches`` has the
    timing of each of the ``fixed``, if it was timed. ``withheld`` are remaining ones that were validated and timed, and
    are not faster. ``gone`` are findings of the first text that went with the fixes of others. ``fixed_from`` and
    ``remains_of`` have, for each of the ``fixed`` and of the ``remaining``, what it was in the first text; None where
    it was not there.
    """

    text: str
    fixed: tuple[Finding, ...]
    remaining: tuple[Finding, ...]
    texts: tuple[str, ...] = ()
    benches: tuple[Bench | None, ...] = ()
    withheld: Timings = ()
    gone: tuple[Gone, ...] = ()
    fixed_from: tuple[Finding | None, ...] = ()
    remains_of: tuple[Finding | None, ...] = ()

    def withheld_by(self, finding: Finding) -> Bench | None:
        """The timing by which the fix of a remaining finding was withheld."""
        return _of(finding, self.withheld)


def _of(finding: Finding, timings: Iterable[tuple[Finding, Bench]]) -> Bench | None:
    return next((bench for timed, bench in timings if timed == finding), None)


def fix_source(
    source: Source,
    findings: list[Finding],
    settings: Settings,
    validator: Executor,
    wanted: Wanted | None = None,
    within: Within | None = None,
) -> Fixed:
    """Validate the fixes of one file's findings and apply those that pass, in memory. Other threads may do the same.

    What is ``wanted`` of a bench decides whether fixes are timed. ``within`` chooses, of the findings in a text that
    fixes have made, those that are to be reported and fixed; None means all.
    """
    with TURN:
        return _fixed(source, findings, settings, validator, wanted, within)


def _fixed(
    source: Source,
    findings: list[Finding],
    settings: Settings,
    validator: Executor,
    wanted: Wanted | None,
    within: Within | None,
) -> Fixed:
    fixed: list[Finding] = []
    texts: list[str] = []
    benches: list[Bench | None] = []
    withheld: list[tuple[Finding, Bench]] = []
    went: list[Gone] = []
    fixed_from: list[Finding | None] = []
    remaining = list(findings)
    origins: list[Finding | None] = list(findings)  # of each that remains, in the first text
    for _ in range(MAX_ROUNDS):
        tried = [
            finding
            for finding in remaining
            if finding.fixable(unsafe=settings.unsafe_fixes, timed=wanted is not None) and finding.verdict is None
        ]
        if not tried:
            break
        before = source
        source, done, failed, timed = _round(source, tried, settings, validator, wanted)
        benches += [_of(finding, timed) for finding in done]
        withheld = [*((finding, bench) for finding, bench in timed if finding in failed), *withheld]
        fixed += done
        texts += [before.text] * len(done)
        if not done:
            kept = {_place(finding): finding for finding in failed}
            remaining = [kept.get(_place(finding), finding) for finding in remaining]
            break
        edits = edits_of(done, before)
        origin_of = dict(zip(remaining, origins, strict=True))
        fixed_from += [origin_of[finding] for finding in done]
        untouched = [finding for finding in remaining if finding not in done]
        unrefuted = [finding for finding in failed if not finding.refuted]  # the text has changed: try those once more
        found = _relint(source, settings)
        remaining = _with_verdicts(within(source, found) if within else found, unrefuted, edits)
        became = list(zip(untouched, successors(untouched, remaining, edits), strict=True))
        for old, new in became:
            origin = origin_of[old]
            if new is None and origin is not None:
                went.append(Gone(origin, why_gone(old, done)))
        origin_of = {new: origin_of[old] for old, new in became if new is not None}
        origins = [origin_of.get(finding) for finding in remaining]
        withheld = list(_moved(withheld, remaining, edits))
    remaining = _demonstrated(remaining, source, settings, validator)
    return Fixed(
        source.text,
        tuple(fixed),
        tuple(map(downgraded, remaining)),
        tuple(texts),
        tuple(benches),
        tuple(withheld),
        tuple(went),
        tuple(fixed_from),
        tuple(origins),
    )


def verify_source(source: Source, findings: list[Finding], settings: Settings, validator: Executor) -> Fixed:
    """Validate the fixes of one file's findings, safe or not, and show those wrong that have none; change nothing."""
    with TURN:
        tried = [
            finding for finding in findings if finding.fixable(unsafe=True, timed=True) and finding.verdict is None
        ]
        judged: dict[tuple[str, int, int], Finding] = {}
        while tried:  # the fix of a finding that overlaps with an accepted one is validated without that
            _, done, failed, _ = _round(source, tried, settings, validator)
            judged |= {_place(finding): finding for finding in (*done, *failed)}
            left = [finding for finding in tried if _place(finding) not in judged]
            tried = left if len(left) < len(tried) else []
        known = [judged.get(_place(finding), finding) for finding in findings]
        shown = _demonstrated(known, source, settings, validator)
        return Fixed(source.text, (), tuple(map(downgraded, shown)), remains_of=tuple(findings))


def _demonstrated(findings: list[Finding], source: Source, settings: Settings, validator: Executor) -> list[Finding]:
    """The findings, those without a fix with the verdict of the attempt to show them wrong."""
    return [
        replace(finding, verdict=_shown(finding, source, settings, validator))
        if finding.verdict is None and finding.demonstration is not None
        else finding
        for finding in findings
    ]


def _shown(finding: Finding, source: Source, settings: Settings, validator: Executor) -> Verdict:
    from mha_lint.validation import Job

    demonstration = finding.demonstration
    assert demonstration is not None
    text = importable(source, [finding.end_location.row])
    path = source.path.absolute()
    job = Job(
        path=str(path),
        before=text,
        after=text,
        symbols=(finding.symbol,),
        relation="wrong",
        flagged=demonstration.flagged,
        hints=dict(demonstration.hints),
        declared=tuple(each for each in settings.harness if each.belongs_to(path)),
        probes=demonstration.ways,
        axes=demonstration.axes,
    )
    TURN.release()
    try:
        return validator.validate(job)
    finally:
        TURN.acquire()


def _round(
    source: Source, tried: list[Finding], settings: Settings, validator: Executor, wanted: Wanted | None = None
) -> tuple[Source, list[Finding], list[Finding], list[tuple[Finding, Bench]]]:
    """One pass over the candidates: the new text, what was applied, what was not, and timings, with the verdicts."""
    done: list[Finding] = []
    failed: list[Finding] = []
    benches: list[tuple[Finding, Bench]] = []

    def job_of(group: list[Finding], others: list[Finding]) -> Job | None:
        """A group on top of what was applied, and of ``others``; None where their edits overlap."""
        try:
            accepted = edits_of([*done, *others], source)
            text = importable(source, [edit.end.row for edit in edits_of(group, source)])
            before = editing.apply(text, _fitting(accepted, source, text))
            after = editing.apply(text, _fitting(edits_of([*done, *others, *group], source), source, text))
        except ValueError:
            return None
        return _job(source, before, after, group, accepted, settings)

    def validate(group: list[Finding], others: list[Finding]) -> Verdict | None:
        """The verdict on a group on top of what was applied, and of ``others``; None where their edits overlap."""
        if _relation(group[0]) == "comment":
            return _comment_verdict(source.text, edits_of([*done, *others], source), edits_of(group, source))
        job = job_of(group, others)
        if job is None:
            return None
        TURN.release()
        try:
            return validator.validate(job)
        finally:
            TURN.acquire()

    waiting = _groups(tried) if wanted is None else _timed_alone(_groups(tried))
    while waiting:
        group = waiting.pop(0)
        if len(group) > 1:
            together = _together(group, validate)
            if together is None:
                waiting[:0] = _parts(group)
            done += together or []
            continue
        verdict = validate(group, [])
        if verdict is None:
            continue  # overlaps with an accepted edit: the next round sees the new text
        judged = replace(group[0], verdict=verdict)
        is_accepted = verdict.verdict == "validated"
        if is_accepted and wanted is not None and _relation(judged) == "equivalent":
            job = job_of(group, [])
            assert job is not None
            bench = validator.bench(job, wanted)  # nothing else takes its turn meanwhile
            benches.append((judged, bench))
            must_be_faster = wanted.only_if_faster or (judged.fix is not None and judged.fix.only_if_faster)
            is_accepted = bench.is_faster or not must_be_faster
        (done if is_accepted else failed).append(judged)
    text = editing.apply(source.text, edits_of(done, source))
    return replace(source, text=text, data=text.encode("utf-8", "surrogatepass")), done, failed, benches


def _comment_verdict(text: str, accepted: list[Edit], edits: list[Edit]) -> Verdict | None:
    """The verdict on edits of comments: the trees before and after must be the same. None where edits overlap."""
    try:
        before = parse(editing.apply(text, accepted))
        after = parse(editing.apply(text, [*accepted, *edits]))
    except SyntaxError:
        return Verdict("refuted", reason="without the comment the file is not Python")
    except ValueError:
        return None
    if ast.dump(before) != ast.dump(after):
        return Verdict("refuted", reason="the syntax tree is another one without the comment")
    return Verdict("validated", harness="comment only")


def _fitting(edits: list[Edit], source: Source, text: str) -> list[Edit]:
    """The edits of what is left in the text as it is imported."""
    if text == source.text:
        return edits
    old, new = editing.rows(source.text), editing.rows(text)
    return [edit for edit in edits if all(old[row] == new[row] for row in range(edit.start.row - 1, edit.end.row))]


def _together(group: list[Finding], validate: _Validate) -> list[Finding] | None:
    """The findings of a group whose fixes hold together, with their verdicts; None where they do not.

    Together, several corrections show that one of them at least was called for. Each has to show it for itself: with
    the others made, without it the code is wrong. Where one does not, it is left out.
    """
    verdict = validate(group, [])
    if verdict is None or verdict.verdict != "validated":
        return None
    if _relation(group[0]) != "corrected":
        return [replace(finding, verdict=verdict) for finding in group]
    shown: list[Finding] = []
    for finding in group:
        others = [other for other in group if other is not finding]
        alone = validate([finding], others)
        if alone is None or alone.verdict != "validated":
            return _together(others, validate) if len(others) > 1 else None
        shown.append(replace(finding, verdict=alone))
    return shown


def _groups(findings: list[Finding]) -> list[list[Finding]]:
    def unit(finding: Finding) -> tuple[int, str, str, str]:
        assert finding.fix is not None
        fix = finding.fix
        return _ORDER[fix.relation], finding.symbol.partition(".")[0], fix.applicability, fix.expected

    return [list(group) for _, group in groupby(sorted(findings, key=unit), key=unit)]


def _timed_alone(groups: list[list[Finding]]) -> list[list[Finding]]:
    """The groups, but what is equivalent one by one: of two fixes, one alone may be faster."""
    alone: list[list[Finding]] = []
    for group in groups:
        alone += [[each] for each in group] if _relation(group[0]) == "equivalent" else [group]
    return alone


def _parts(group: list[Finding]) -> list[list[Finding]]:
    """A group whose fixes do not hold together: one by one; corrections first those of each rule.

    Of two dropouts that are at work in eval mode, neither is put right without the other.
    """
    by_code = [[f for f in group if f.code == code] for code in dict.fromkeys(f.code for f in group)]
    return by_code if _relation(group[0]) == "corrected" and len(by_code) > 1 else [[finding] for finding in group]


def _relation(finding: Finding) -> Relation:
    assert finding.fix is not None
    return finding.fix.relation


def downgraded(finding: Finding) -> Finding:
    """Return the finding, an error as a warning where validation ran the code and could not show it wrong."""
    unshown = finding.verdict is not None and finding.verdict.unshown
    return replace(finding, severity="warning") if unshown and finding.severity == "error" else finding


def edits_of(findings: list[Finding], source: Source) -> list[Edit]:
    """The edits of several fixes, and what they make unused together; ValueError where they overlap."""
    from mha_lint.fixers.unused_imports import tidied

    edits = [edit for finding in findings if finding.fix for edit in finding.fix.edits]
    return [*tidied(source.text, edits, source.path.name)]


def _job(
    source: Source, before: str, after: str, group: list[Finding], accepted: list[Edit], settings: Settings
) -> Job:
    from mha_lint.validation import Job

    fixes = [finding.fix for finding in group if finding.fix is not None]
    flagged = [row for finding in group for row in _flagged(finding)]
    return Job(
        path=str(source.path.absolute()),
        before=before,
        after=after,
        symbols=tuple(dict.fromkeys(finding.symbol for finding in group)),
        relation=fixes[0].relation,
        flagged=tuple(sorted({editing.row_after(row, accepted) for row in flagged})),
        added=tuple(name for fix in fixes for name in fix.added),
        hints={name: shape for fix in fixes for name, shape in fix.hints},
        identity=tuple(name for fix in fixes for name in fix.identity),
        declared=tuple(each for each in settings.harness if each.belongs_to(source.path.absolute())),
        also=settings.also,
        probes=tuple(dict.fromkeys(probe for fix in fixes for probe in fix.probes)),
        axes=tuple(dict.fromkeys(axes for fix in fixes for axes in fix.axes)),
        agree=fixes[0].agree if len({fix.agree for fix in fixes}) == 1 else "",
        expected=fixes[0].expected,
    )


def _flagged(finding: Finding) -> tuple[int, ...]:
    """The rows that the fix is about; a correction that names none is about the one where it was found."""
    assert finding.fix is not None
    if finding.fix.flagged or finding.fix.relation != "corrected":
        return finding.fix.flagged
    return (finding.location.row,)


def _relint(source: Source, settings: Settings) -> list[Finding]:
    """Findings of a text that this tool wrote: one that doesn't parse would have failed validation."""
    try:
        return list(lint(source, settings).findings)
    except SourceError as error:
        raise AssertionError(f"a validated fix left {source.path} unparsable: {error.message}") from error


def _with_verdicts(findings: list[Finding], failed: list[Finding], edits: list[Edit]) -> list[Finding]:
    """Carry the verdicts of failed fixes over to the same findings in the new text."""
    verdicts = {(f.code, editing.row_after(f.location.row, edits), f.message): f.verdict for f in failed}
    return [replace(f, verdict=verdicts.get((f.code, f.location.row, f.message))) for f in findings]


def _moved(
    benches: list[tuple[Finding, Bench]], remaining: list[Finding], edits: list[Edit]
) -> Iterator[tuple[Finding, Bench]]:
    """The timings of fixes that were withheld, with the same findings in the new text."""
    told = {(f.code, editing.row_after(f.location.row, edits), f.message): bench for f, bench in benches}
    for finding in remaining:
        bench = told.get((finding.code, finding.location.row, finding.message))
        if bench is not None:
            yield finding, bench


def _place(finding: Finding) -> tuple[str, int, int]:
    return finding.code, finding.location.row, finding.location.column
