"""``--output-format rdjson``: the Reviewdog Diagnostic Format, which posts findings and fixes on a pull request.

https://github.com/reviewdog/reviewdog/tree/master/proto/rdf
"""

from __future__ import annotations

from typing import Any

from mha_lint.findings import Failure, Fix, Position
from mha_lint.report import Entry, Report, portable_path, url
from mha_lint.report.excerpt import joined, printable, printable_lines, row_of
from mha_lint.report.json_text import dumped
from mha_lint.report.text import verdict_line

_SEVERITIES = {"error": "ERROR", "warning": "WARNING", "info": "INFO"}
_SOURCE = {"name": "mha-lint", "url": "https://github.com/mha-lint/mha-lint"}


def render(report: Report) -> str:
    """One object with all diagnostics, in ASCII."""
    diagnostics = [*map(_failed, report.failures), *map(_diagnostic, report.remaining)]
    return dumped({"source": _SOURCE, "diagnostics": diagnostics})


def _diagnostic(entry: Entry) -> dict[str, Any]:
    """One finding. One in a notebook is about the file as a whole, and its words name the cell."""
    finding = entry.finding
    in_cell = entry.cells is not None
    place = f"{entry.location()}: " if in_cell else ""
    verdict = f"\n{finding.verdict.verdict}: {verdict_line(finding.verdict)}" if finding.verdict else ""
    location: dict[str, Any] = {"path": portable_path(finding.filename)}
    if not in_cell:
        location["range"] = _range(entry, finding.location, finding.end_location)
    made: dict[str, Any] = {
        "message": f"{place}{printable(finding.message)}{verdict}",
        "location": location,
        "severity": _SEVERITIES[finding.severity],
        "code": {"value": finding.code, "url": url(finding)},
    }
    if entry.proposed is not None and entry.text and not in_cell:
        made["suggestions"] = [_suggestion(entry, entry.proposed)]
    return made


def _range(entry: Entry, start: Position, end: Position) -> dict[str, Any]:
    return {"start": _place(entry, start), "end": _place(entry, end)}


def _place(entry: Entry, place: Position) -> dict[str, int]:
    """The format counts columns in bytes of UTF-8."""
    before = row_of(entry.text, place.row)[: place.column - 1]
    wider = len(before.encode("utf-8", "surrogatepass")) - len(before)
    return {"line": place.row, "column": place.column + wider}


def _suggestion(entry: Entry, fix: Fix) -> dict[str, Any]:
    """All edits as one: several suggestions would be taken for alternatives, and a part of a fix is none."""
    edit = joined(entry.text, fix.edits)
    return {"range": _range(entry, edit.start, edit.end), "text": edit.content}


def _failed(failure: Failure) -> dict[str, Any]:
    location: dict[str, Any] = {"path": portable_path(failure.filename) if failure.filename else "."}
    if failure.row is not None:
        location["range"] = {"start": {"line": failure.row}}
    return {"message": printable_lines(failure.message), "location": location, "severity": "ERROR"}
