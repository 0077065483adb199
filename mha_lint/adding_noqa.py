"""Writes ``# noqa: CODES`` where findings are, so that the same run finds nothing."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from mha_lint import edits as editing
from mha_lint.files import Source, SourceError
from mha_lint.findings import Edit, Finding, Position
from mha_lint.noqa import Line, lines, suppressed
from mha_lint.parsing import parse


def with_comments(source: Source, findings: Sequence[Finding], reason: str = "") -> tuple[str, int]:
    """The text with comments that silence the findings, and how many were written or got more codes.

    Codes are added to a ``noqa`` that is there already, whose words stay; other comments stay in front of it. A
    ``reason`` comes behind the codes where none is there.

    Raises:
        SourceError: a row has no room for a comment that silences its finding.
    """
    codes: dict[int, set[str]] = {}
    found = list(lines(source.text))
    place = {row: index for index, line in enumerate(found) for row in range(line.first, line.last + 1)}
    for finding in findings:
        if finding.noqa_row not in place:
            raise _no_room(source, finding)
        codes.setdefault(place[finding.noqa_row], set()).add(finding.code)
    rows = editing.rows(source.text)
    edits = [_edit(found[index], rows, sorted(added), reason) for index, added in codes.items()]
    text = editing.apply(source.text, edits)
    if ast.dump(parse(source.text)) != ast.dump(_parsed(text) or ast.Module([], [])):
        raise _no_room(source, findings[0])
    for loud in suppressed(text, findings)[0]:
        raise _no_room(source, loud)
    return text, len(edits)


def _edit(line: Line, rows: Sequence[str], codes: list[str], reason: str) -> Edit:
    directive = next((each for each in line.directives if each.codes and not each.whole), None)
    if directive is None:
        return Edit(line.end, line.end, f"  # noqa: {', '.join(codes)}{reason and f' {reason}'}")
    here = Position(directive.start.row, directive.codes[-1].end)
    behind = rows[here.row - 1][here.column - 1 : directive.end - 1].strip()
    words = f" {reason}" if reason and (not behind or behind.startswith("#")) else ""
    return Edit(here, here, f", {', '.join(codes)}{words}")


def _parsed(text: str) -> ast.Module | None:
    try:
        return parse(text)
    except (SyntaxError, ValueError):
        return None


def _no_room(source: Source, finding: Finding) -> SourceError:
    message = f"no comment has room at {finding.code}; silence it with per-file-ignores"
    return SourceError(source.path, f"{message}; left alone", finding.location.row)
