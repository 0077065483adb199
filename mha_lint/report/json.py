"""``--output-format json``: one object, for programs; its schema is docs/schema/report.schema.json."""

from __future__ import annotations

from mha_lint.findings import Edit, Fix, Position, Trial, Verdict
from mha_lint.report import Entry, Report, records, tried, url


def render(report: Report) -> str:
    """The whole report: after ``--fix`` the fixed findings too, and what was suppressed."""
    findings = [_finding(entry) for entry in report.entries]
    errors = [records.failure(each) for each in report.failures]
    return records.written(records.Findings(records.VERSION, report.files, findings, errors))


def _finding(entry: Entry) -> records.FindingRecord:
    finding = entry.finding
    cell, start = entry.place(finding.location)
    made = records.FindingRecord(
        code=finding.code,
        name=finding.name,
        severity=finding.severity,
        message=finding.message,
        filename=records.absolute(finding.filename),
        cell=cell,
        location=_place(start),
        end_location=_place(_end(entry, finding.location, finding.end_location)),
        symbol=finding.symbol,
        noqa_row=entry.place(Position(finding.noqa_row, 1))[1].row,
        url=url(finding),
        fixable=entry.offered and not entry.fixed,
        fixed=entry.fixed,
        suppressed=entry.suppressed or None,
        gone=entry.gone or None,
        fix=_fix(entry, finding.fix) if finding.fix and not finding.refuted else None,
        validation=_validation(finding.verdict) if finding.verdict else None,
    )
    if entry.bench is None:
        return made
    from msgspec.structs import replace

    from mha_lint.report.bench import record

    return replace(made, bench=record(entry.bench, entry.withheld))


def _place(position: Position) -> records.Place:
    return records.Place(position.row, position.column)


def _end(entry: Entry, start: Position, end: Position) -> Position:
    """Where a range ends, in the cell that it starts in."""
    if entry.cells is None:
        return end
    _, place = entry.place(start)
    return Position(place.row + end.row - start.row, end.column)


def _fix(entry: Entry, fix: Fix) -> records.ProposedFix:
    edits = [_edit(entry, edit) for edit in fix.edits]
    return records.ProposedFix(fix.applicability, fix.relation, fix.message, edits)


def _edit(entry: Entry, edit: Edit) -> records.Change:
    """An edit; in a notebook with its cell, which need not be that of the finding."""
    cell, start = entry.place(edit.start)
    end = _end(entry, edit.start, edit.end)
    change = records.Change(edit.content, _place(start), _place(end))
    return change if cell is None else records.Change(edit.content, _place(start), _place(end), cell)


def _validation(verdict: Verdict) -> records.Validation:
    return records.Validation(
        verdict=verdict.verdict,
        harness=verdict.harness,
        reason=verdict.reason,
        stub=verdict.stub,
        counterexample=verdict.counterexample,
        unshown=verdict.unshown,
        caveat=verdict.caveat,
        tried=tried.in_words(verdict) or None,
        trials=[_trial(trial) for trial in verdict.trials if trial.outcome != "skipped"],
    )


def _trial(trial: Trial) -> records.Tried:
    return records.Tried(
        device=trial.device,
        dtype=trial.dtype,
        mode=trial.mode,
        shapes=list(trial.shapes),
        max_abs_diff=records.finite(trial.max_abs_diff),
        outcome=trial.outcome,
        detail=trial.detail,
    )
