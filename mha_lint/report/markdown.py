"""``--output-format markdown``: tables for the summary of a job (``$GITHUB_STEP_SUMMARY``) or a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from mha_lint.report import Entry, Report, portable_path, url
from mha_lint.report.excerpt import printable
from mha_lint.report.summary import counted, severities
from mha_lint.report.text import verdict_line

HEADING = "## mha-lint"
_TABLE = "| place | severity | rule | finding | fix |\n|---|---|---|---|---|"
_LARGEST = 900_000  # bytes: GitHub refuses the summary of a step that has more than 1 MiB
_CODE = re.compile(r"(?<!`)`(?!`)([^`]+)`(?!`)")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#~|$&])")


def render(report: Report) -> str:
    """A table for each file. What is left out of a report that gets too large is counted at its end."""
    lines = [HEADING, "", _summary(report), *failures(report)]
    size = sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
    left = 0
    for filename, entries in groupby(report.remaining, key=lambda entry: entry.finding.filename):
        heading = f"\n### {code(portable_path(filename))}\n\n{_TABLE}"
        for entry in entries:
            rows = [heading, _row(entry)] if heading else [_row(entry)]
            more = sum(len(row.encode("utf-8", "replace")) + 1 for row in rows)
            if left or size + more > _LARGEST:
                left += 1
                continue
            lines += rows
            size += more
            heading = ""
    if left:
        lines += ["", f"{left} more findings are left out here: GitHub shows no more than 1 MiB."]
    return "\n".join(lines)


def failures(report: Report) -> Iterator[str]:
    """What could not be done, as a list."""
    if report.failures:
        yield "\n**Errors**\n"
    for failure in report.failures:
        place = portable_path(failure.filename) if failure.filename else ""
        place += f":{failure.row}" if place and failure.row is not None else ""
        yield f"- {code(place)}: {escaped(failure.message)}" if place else f"- {escaped(failure.message)}"


def _summary(report: Report) -> str:
    remaining = report.remaining
    found = f"{counted(len(remaining), 'finding')}{severities(remaining)}" if remaining else "No findings"
    fixed = sum(entry.fixed for entry in report.entries)
    parts = [found, f"{fixed} fixed" if fixed else "", f"{counted(report.files, 'file')} looked at"]
    return ", ".join(part for part in parts if part) + "."


def _row(entry: Entry) -> str:
    finding = entry.finding
    rule = f'[{finding.code}]({url(finding)} "{finding.name}")'
    return f"| {entry.location()} | {finding.severity} | {rule} | {escaped(finding.message)} | {_fix(entry)} |"


def _fix(entry: Entry) -> str:
    """The fix, and what executing it said."""
    finding = entry.finding
    parts = []
    if finding.fix and not finding.refuted:
        parts.append(f"{finding.fix.applicability}, {finding.fix.relation}")
    if finding.verdict:
        parts.append(f"**{finding.verdict.verdict}**: {escaped(verdict_line(finding.verdict))}")
    return "; ".join(parts)


def escaped(text: str) -> str:
    """Text of one line in a cell of a table: its code stays code, and all else is shown as it stands."""
    words = " ".join(printable(text.replace("\n", " ")).split())
    parts = _CODE.split(words)  # text, code, text, code, …
    shown = [code(part) if number % 2 else _SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts)]
    return "".join(shown)


def code(text: str) -> str:
    """Text as code, between more backticks than it holds. A pipe is escaped, since a table reads it before the code."""
    shown = printable(text).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"
