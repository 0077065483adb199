"""``--output-format sarif``: SARIF 2.1.0, which GitHub code scanning, editors and many dashboards read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; numbers of sections below are of that text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mha_lint.findings import Edit, Failure, Fix, Position, Severity
from mha_lint.report import Entry, Report, RulePage, shown_path, url
from mha_lint.report.excerpt import printable, printable_lines
from mha_lint.report.fingerprint import fingerprints
from mha_lint.report.json_text import dumped
from mha_lint.report.text import verdict_line

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_HOME = "https://github.com/mha-lint/mha-lint"
_ROOT = "%SRCROOT%"  # a name by which tools know the folder of the sources
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_LINK = re.compile(r"\[(?=[^\[\]]*\]\()")  # what would be read as a link in a message (3.11.6), as `x[0](1)`
_PROBLEMS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "recommendation"}  # GitHub's words


def render(report: Report) -> str:
    """One run with the rules that have findings, in ASCII. What was fixed is no result any more."""
    entries = [entry for entry in report.entries if not entry.fixed]
    codes = {entry.finding.code for entry in entries}
    pages = [page for page in report.rules if page.code in codes]
    index = {page.code: number for number, page in enumerate(pages)}
    results = [
        _result(entry, index[entry.finding.code], fingerprint)
        for entry, fingerprint in zip(entries, fingerprints(entries), strict=True)
    ]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "mha-lint",
                "semanticVersion": report.version,
                "version": report.version,
                "informationUri": _HOME,
                "rules": [_rule(page, entries) for page in pages],
            }
        },
        "invocations": [_invocation(report.failures)],
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder that mha-lint was run in."}}},
        "columnKind": "unicodeCodePoints",
        "newlineSequences": ["\r\n", "\n", "\r"],
        "results": results,
    }
    if notebooks := _notebooks(entries):
        run["artifacts"] = notebooks
    return dumped({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(page: RulePage, entries: Sequence[Entry]) -> dict[str, Any]:
    finding = next(entry.finding for entry in entries if entry.finding.code == page.code)
    tags = ["pytorch", "attention"]
    tags += [f"fix:{page.applicability}", f"relation:{page.relation}"] if page.applicability else []
    return {
        "id": page.code,
        "name": page.name,
        "shortDescription": {"text": page.summary or page.why},
        "fullDescription": {"text": page.why},
        "help": {"text": page.page, "markdown": page.page},
        "helpUri": url(finding),
        "defaultConfiguration": {"level": _LEVELS[page.severity]},
        "properties": {"tags": tags, "problem.severity": _PROBLEMS[page.severity]},
    }


def _result(entry: Entry, rule: int, fingerprint: str) -> dict[str, Any]:
    finding = entry.finding
    made: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(entry)},
        "locations": [_location(entry)],
        "partialFingerprints": {"mhaLint/v1": fingerprint},
    }
    fix = entry.proposed
    if fix is not None and entry.cells is None:
        made["fixes"] = [_fix(entry, fix)]
    if entry.suppressed:
        made["suppressions"] = [{"kind": "external", "justification": printable(entry.suppressed)}]
    return made


def _message(entry: Entry) -> str:
    """What is wrong, why it matters, and what executing it said. A place in a cell is told in words alone."""
    finding = entry.finding
    place = "" if entry.cells is None else f"{entry.location()}: "
    lines = [f"{place}{printable(finding.message)}", printable(finding.why)]
    if finding.verdict:
        lines.append(f"{finding.verdict.verdict}: {verdict_line(finding.verdict)}")
    return _LINK.sub(r"\\[", "\n".join(line for line in lines if line))


def _location(entry: Entry) -> dict[str, Any]:
    finding = entry.finding
    physical = {"artifactLocation": _artifact(finding.filename), "region": {"startLine": 1}}
    logical = [{"fullyQualifiedName": printable(finding.symbol)}] if finding.symbol else []
    if entry.cells is None:
        physical["region"] = _region(finding.location, finding.end_location)
        return {"physicalLocation": physical, **({"logicalLocations": logical} if logical else {})}
    cell, start = entry.place(finding.location)
    logical = [{"name": f"cell {cell}", "kind": "cell"}, *logical]
    placed = {"cell": cell, "startLine": start.row, "startColumn": start.column}
    return {"physicalLocation": physical, "logicalLocations": logical, "properties": placed}


def _region(start: Position, end: Position) -> dict[str, int]:
    """A region ends before its end column (3.30.8), as ranges of ours do."""
    return {"startLine": start.row, "startColumn": start.column, "endLine": end.row, "endColumn": end.column}


def _artifact(filename: str) -> dict[str, str]:
    """Where a file lies: relative to the working directory, or absolute where it lies elsewhere."""
    path = shown_path(filename)
    if filename == "-" or not os.path.isabs(path):
        return {"uri": _quoted(path), "uriBaseId": _ROOT}
    prefix = "file://" if path.startswith("/") else "file:///"  # C:/…
    return {"uri": f"{prefix}{_quoted(path)}"}


def _quoted(path: str) -> str:
    """The path of a URI. Bytes that are not UTF-8 stay as they are; a colon would read as a scheme (RFC 3986, 4.2)."""
    return quote(os.fsencode(Path(path).as_posix()))


def _fix(entry: Entry, fix: Fix) -> dict[str, Any]:
    validated = "validated by execution" if entry.finding.verdict else "not yet validated"
    return {
        "description": {"text": f"{printable(fix.message)} ({fix.applicability}, {fix.relation}; {validated})"},
        "artifactChanges": [
            {
                "artifactLocation": _artifact(entry.finding.filename),
                "replacements": [_replacement(edit) for edit in sorted(fix.edits, key=lambda edit: edit.start)],
            }
        ],
    }


def _replacement(edit: Edit) -> dict[str, Any]:
    made: dict[str, Any] = {"deletedRegion": _region(edit.start, edit.end)}
    if edit.content:
        made["insertedContent"] = {"text": edit.content}
    return made


def _invocation(failures: Sequence[Failure]) -> dict[str, Any]:
    made: dict[str, Any] = {"executionSuccessful": not failures}
    if failures:
        made["toolExecutionNotifications"] = [_notification(failure) for failure in failures]
    return made


def _notification(failure: Failure) -> dict[str, Any]:
    made: dict[str, Any] = {"level": "error", "message": {"text": printable_lines(failure.message)}}
    if failure.filename:
        physical: dict[str, Any] = {"artifactLocation": _artifact(failure.filename)}
        if failure.row is not None:
            physical["region"] = {"startLine": failure.row}
        made["locations"] = [{"physicalLocation": physical}]
    return made


def _notebooks(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The notebooks with findings: what their regions leave out stands in the properties of each location."""
    names = dict.fromkeys(entry.finding.filename for entry in entries if entry.cells is not None)
    words = "A notebook: the message of a result, and the properties of its location, name the cell and the row in it."
    return [
        {"location": _artifact(name), "mimeType": "application/x-ipynb+json", "description": {"text": words}}
        for name in names
    ]
