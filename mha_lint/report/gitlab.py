"""``--output-format gitlab``: a Code Quality report, which GitLab shows beside a merge request."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from mha_lint.findings import Failure, Position
from mha_lint.report import Entry, Report, portable_path
from mha_lint.report.excerpt import printable
from mha_lint.report.fingerprint import fingerprints
from mha_lint.report.json_text import dumped

# https://docs.gitlab.com/ci/testing/code_quality/ names info, minor, major, critical and blocker.
_SEVERITIES = {"error": "major", "warning": "minor", "info": "info"}


def render(report: Report) -> str:
    """A list of objects in ASCII: an empty one where nothing is left to report."""
    entries = report.remaining
    found = [_issue(entry, fingerprint) for entry, fingerprint in zip(entries, fingerprints(entries), strict=True)]
    return dumped([*map(_failed, report.failures), *found])


def _issue(entry: Entry, fingerprint: str) -> dict[str, Any]:
    """One finding. A row of a cell is no row of the file: it goes to the top, and the words name the cell."""
    finding = entry.finding
    in_cell = entry.cells is not None
    start, end = (Position(1, 1), Position(1, 1)) if in_cell else (finding.location, finding.end_location)
    place = f"{entry.location()}: " if in_cell else ""
    return {
        "check_name": finding.code,
        "description": printable(f"{place}{finding.code}: {finding.message}"),
        "severity": _SEVERITIES[finding.severity],
        "fingerprint": fingerprint,
        "location": {"path": _path(finding.filename), "positions": {"begin": _at(start), "end": _at(end)}},
    }


def _at(position: Position) -> dict[str, int]:
    return {"line": position.row, "column": position.column}


def _failed(failure: Failure) -> dict[str, Any]:
    at = _at(Position(failure.row or 1, 1))
    known = f"{failure.filename}\0{failure.message}"
    return {
        "check_name": "mha-lint",
        "description": printable(failure.message),
        "severity": "blocker",
        "fingerprint": hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        "location": {
            "path": _path(failure.filename) if failure.filename else ".",
            "positions": {"begin": at, "end": at},
        },
    }


def _path(filename: str) -> str:
    """The path within the repository, where GitLab says where that lies."""
    project = os.environ.get("CI_PROJECT_DIR")
    return portable_path(filename, project) if project else portable_path(filename)
