"""The codes in ``noqa`` comments that silence nothing, as findings of their own: MHA099."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from mha_lint import edits as editing
from mha_lint.files import Source
from mha_lint.findings import UNUSED_NOQA, Edit, Finding, Fix, Position
from mha_lint.noqa import Code, Directive, Line, lines, read_rows
from mha_lint.settings import Settings

_FURTHER = re.compile(r"\s(#\s*[A-Za-z].*)")  # another comment behind; ``#12`` is a word


def unused(source: Source, findings: Sequence[Finding], settings: Settings, enabled: frozenset[str]) -> list[Finding]:
    """Findings about codes of enabled rules, in comments of one file, that silence none of ``findings``.

    Of a code that is a prefix, all rules must be enabled. What cannot be known is left alone: comments without codes
    and codes of others, which other tools may read, and rows of a notebook that are not read as they are written.
    """
    from mha_lint.rules import codes

    if "noqa" not in source.text.lower():
        return []
    known = [code for code in codes() if code != UNUSED_NOQA]
    hidden = _hidden_rows(source)
    told = []
    found = list(lines(source.text))
    if any(UNUSED_NOQA.startswith(each.prefixes) for line in found for each in line.directives if each.whole):
        return []
    for line in found:
        if hidden.intersection(range(line.first, line.last + 1)):
            continue
        for directive in line.directives:
            idle = [code for code in directive.codes if _is_idle(code, directive, line, findings, known, enabled)]
            silences_this = any(code.prefix == UNUSED_NOQA for code in directive.codes)
            if idle and not silences_this:
                told.append(_told(source, directive, idle, settings))
    return told


def _is_idle(
    code: Code,
    directive: Directive,
    line: Line,
    findings: Sequence[Finding],
    known: Sequence[str],
    enabled: frozenset[str],
) -> bool:
    named = [each for each in known if each.startswith(code.prefix)]
    if not named or not enabled.issuperset(named):
        return False
    rows = range(line.first, line.last + 1)
    return not any(
        finding.code.startswith(code.prefix) and (directive.whole or not read_rows(finding).isdisjoint(rows))
        for finding in findings
    )


def _hidden_rows(source: Source) -> set[int]:
    """The rows of a notebook's program that stand for something else: for magics, and for cells that can't be read."""
    notebook = source.notebook
    if notebook is None:
        return set()
    written = {cell.number: editing.rows(cell.source) for cell in notebook.cells}
    read = editing.rows(source.text)
    hidden: set[int] = set()
    for number, first, last in notebook.rows():
        cell = written[number]
        hidden.update(row for row in range(first, last + 1) if cell[row - first : row - first + 1] != [read[row - 1]])
    return hidden


def _told(source: Source, directive: Directive, idle: Sequence[Code], settings: Settings) -> Finding:
    from mha_lint.rules.unused_noqa import UnusedNoqa

    names = [code.text for code in idle]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    where = "in this file" if directive.whole else "here"
    verb = "silences" if len(names) == 1 else "silence"
    finding = Finding(
        code=UNUSED_NOQA,
        name=UnusedNoqa.name,
        severity=UnusedNoqa.severity,
        message=f"unused `noqa`: {listed} {verb} nothing {where}",
        why=UnusedNoqa.why,
        filename=str(source.path.absolute()),
        location=directive.start,
        end_location=Position(directive.start.row, directive.end),
        symbol="",
        noqa_row=directive.start.row,
        statement=",".join(names),
    )
    if not settings.may_fix(UNUSED_NOQA):
        return replace(finding, no_fix_reason=f"the settings make {UNUSED_NOQA} unfixable")
    is_whole = len(idle) == len(directive.codes)
    message = "Remove the comment" if is_whole else f"Remove {listed} from the comment"
    edits = (_without_comment(source.text, directive) if is_whole else _without(directive, idle, source.text),)
    safety = settings.applicability(UNUSED_NOQA, "safe")
    return replace(finding, fix=Fix(safety, "comment", message, edits))


def _without(directive: Directive, idle: Sequence[Code], text: str) -> Edit:
    """The edit that leaves some codes of a comment out, each with what parts it from the one before."""
    row = directive.start.row
    line = editing.rows(text)[row - 1]
    parts: list[str] = []
    before: Code | None = None
    for code in directive.codes:
        if code not in idle:
            between = line[before.end - 1 : code.column - 1] if before and parts else ""
            parts += [between, code.text]
        before = code
    first, last = directive.codes[0], directive.codes[-1]
    return Edit(Position(row, first.column), Position(row, last.end), "".join(parts))


def _without_comment(text: str, directive: Directive) -> Edit:
    """The edit that removes a ``noqa`` with the words behind it, but no further comment; an empty row goes, too."""
    rows = editing.rows(text)
    row = directive.start.row
    line = rows[row - 1]
    before = line[: directive.start.column - 1].rstrip()
    behind = line[directive.codes[-1].end - 1 : directive.end - 1]
    further = _FURTHER.search(behind)
    kept = further[1] if further else ""
    if not before and not kept:
        if row < len(rows):
            return Edit(Position(row, 1), Position(row + 1, 1), "")
        return Edit(Position(row, 1), Position(row, len(line) + 1), "")
    start = directive.start.column if kept else len(before) + 1
    end = directive.end - len(kept) if kept else len(line) + 1
    return Edit(Position(row, start), Position(row, end), "")
