"""``--output-format github``: workflow commands that GitHub Actions shows beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Mapping

from mha_lint.findings import Failure, Finding, Position
from mha_lint.report import Entry, Report, shown_path
from mha_lint.report.excerpt import printable_lines

_LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


def render(report: Report) -> str:
    """One command a line; escaped as actions/toolkit does (packages/core/src/command.ts)."""
    return "\n".join([*map(_failure, report.failures), *map(_command, report.remaining)])


def _failure(failure: Failure) -> str:
    properties: dict[str, object] = {"title": "mha-lint"}
    if failure.filename:
        properties.update(file=shown_path(failure.filename), line=failure.row or 1)
    return printable_lines(f"::error {_listed(properties)}::{_escape(str(failure))}")


def _listed(properties: Mapping[str, object]) -> str:
    return ",".join(f"{key}={_escape_property(str(value))}" for key, value in properties.items())


def _command(entry: Entry) -> str:
    finding = entry.finding
    properties = {
        "title": f"mha-lint ({finding.code})",
        "file": shown_path(finding.filename),
        **_lines(entry),
    }
    place = f"{shown_path(finding.filename)}:{entry.location()}"
    message = f"{place}: {finding.code} {finding.message}{_found(finding)}"
    return printable_lines(f"::{_LEVELS[finding.severity]} {_listed(properties)}::{_escape(message)}")


def _lines(entry: Entry) -> dict[str, int]:
    """Where GitHub shows the finding. A row of a cell is no row of the file: it goes to the top, as ruff has it."""
    start, end = entry.finding.location, entry.finding.end_location
    if entry.cells is not None:
        start = end = Position(1, 1)
    return {"line": start.row, "col": start.column, "endLine": end.row, "endColumn": end.column}


def _found(finding: Finding) -> str:
    """Return what validation says of the finding itself, as more sentences, or "" where it says nothing."""
    if finding.verdict is None:
        return ""
    if finding.verdict.unshown:
        return f"\n{finding.verdict.reason}"
    return f"\nshown wrong: {finding.verdict.counterexample}" if finding.verdict.counterexample else ""


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
