"""``--output-format json``: a list of objects, for programs.

After ``--fix`` it holds the fixed findings too: they are those whose ``validation.verdict`` is ``validated``, and those
that went with the fix of another, which ``gone`` names.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from mha_lint.findings import Edit, Fix, Position, Trial, Verdict
from mha_lint.report import Entry, tried, url


def render(entries: Sequence[Entry]) -> str:
    """The whole report, ASCII only, so that it survives any terminal and any file name."""
    return json.dumps([_finding(entry) for entry in entries], indent=2, allow_nan=False)


def _finding(entry: Entry) -> dict[str, Any]:
    finding = entry.finding
    cell, start = entry.place(finding.location)
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "filename": finding.filename if finding.filename == "-" else os.path.abspath(finding.filename),
        "cell": cell,
        "location": _position(start),
        "end_location": _position(_end(entry, finding.location, finding.end_location)),
        "symbol": finding.symbol,
        "noqa_row": entry.place(Position(finding.noqa_row, 1))[1].row,
        "url": url(finding),
        "fix": _fix(entry, finding.fix) if finding.fix and not finding.refuted else None,
        "validation": _validation(finding.verdict) if finding.verdict else None,
        **_bench(entry),
        **({"gone": entry.gone} if entry.gone else {}),
    }


def _bench(entry: Entry) -> dict[str, Any]:
    """The timing of the fix, under ``--bench`` alone."""
    if entry.bench is None:
        return {}
    from mha_lint.report.bench import as_json

    return {"bench": as_json(entry.bench, entry.withheld)}


def _position(position: Position) -> dict[str, int]:
    return {"row": position.row, "column": position.column}


def _end(entry: Entry, start: Position, end: Position) -> Position:
    """Where a range ends, in the cell that it starts in."""
    if entry.cells is None:
        return end
    _, place = entry.place(start)
    return Position(place.row + end.row - start.row, end.column)


def _fix(entry: Entry, fix: Fix) -> dict[str, Any]:
    return {
        "applicability": fix.applicability,
        "relation": fix.relation,
        "message": fix.message,
        "edits": [_edit(entry, edit) for edit in fix.edits],
    }


def _edit(entry: Entry, edit: Edit) -> dict[str, Any]:
    """An edit; in a notebook with its cell, which need not be that of the finding."""
    cell, start = entry.place(edit.start)
    end = _end(entry, edit.start, edit.end)
    written = {"content": edit.content, "location": _position(start), "end_location": _position(end)}
    return written if cell is None else {"cell": cell, **written}


def _validation(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "harness": verdict.harness,
        "reason": verdict.reason,
        "stub": verdict.stub,
        "counterexample": verdict.counterexample,
        "unshown": verdict.unshown,
        "caveat": verdict.caveat,
        "tried": tried.in_words(verdict) or None,
        "trials": [_trial(trial) for trial in verdict.trials if trial.outcome != "skipped"],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    difference = trial.max_abs_diff
    finite = difference is None or math.isfinite(difference)
    return {
        "device": trial.device,
        "dtype": trial.dtype,
        "mode": trial.mode,
        "shapes": list(trial.shapes),
        "max_abs_diff": difference if finite else str(difference),  # JSON has no NaN and no infinity
        "outcome": trial.outcome,
        "detail": trial.detail,
    }
