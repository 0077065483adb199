"""``--output-format json``: a list of objects, for programs.

After ``--fix`` it holds the fixed findings too: they are those whose ``validation.verdict`` is ``validated``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from mha_lint.findings import Finding, Fix, Position, Trial, Verdict
from mha_lint.report import Entry, tried, url


def render(entries: Sequence[Entry]) -> str:
    """The whole report, ASCII only, so that it survives any terminal and any file name."""
    return json.dumps([_finding(entry.finding) for entry in entries], indent=2, allow_nan=False)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "filename": finding.filename if finding.filename == "-" else os.path.abspath(finding.filename),
        "cell": None,
        "location": _position(finding.location),
        "end_location": _position(finding.end_location),
        "symbol": finding.symbol,
        "noqa_row": finding.noqa_row,
        "url": url(finding),
        "fix": _fix(finding.fix) if finding.fix and not finding.refuted else None,
        "validation": _validation(finding.verdict) if finding.verdict else None,
    }


def _position(position: Position) -> dict[str, int]:
    return {"row": position.row, "column": position.column}


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "applicability": fix.applicability,
        "relation": fix.relation,
        "message": fix.message,
        "edits": [
            {"content": edit.content, "location": _position(edit.start), "end_location": _position(edit.end)}
            for edit in fix.edits
        ],
    }


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
