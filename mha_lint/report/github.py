"""``--output-format github``: workflow commands that GitHub Actions shows beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from mha_lint.findings import Finding, Position
from mha_lint.report import Entry
from mha_lint.report.excerpt import printable_lines
from mha_lint.report.text import shown_path

_LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


def render(entries: Sequence[Entry]) -> str:
    """One command a line; escaped as actions/toolkit does (packages/core/src/command.ts)."""
    return "\n".join(_command(entry) for entry in entries if not entry.fixed)


def _command(entry: Entry) -> str:
    finding = entry.finding
    properties = {
        "title": f"mha-lint ({finding.code})",
        "file": shown_path(finding.filename),
        **_lines(entry),
    }
    listed = ",".join(f"{key}={_escape_property(str(value))}" for key, value in properties.items())
    place = f"{shown_path(finding.filename)}:{entry.location()}"
    message = f"{place}: {finding.code} {finding.message}{_found(finding)}"
    return printable_lines(f"::{_LEVELS[finding.severity]} {listed}::{_escape(message)}")


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
