"""Pieces of source in a report: the flagged line underlined, and a fix as a small diff."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from mha_lint.findings import Edit, Position

TAB = "    "

# A terminal must not obey what a source file contains: neither control codes, nor marks that turn the direction of
# writing, which make a row look like another one.
_DIRECTIONS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROL = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160), *_DIRECTIONS), "\N{REPLACEMENT CHARACTER}")
_CONTROL_IN_LINES = {code: shown for code, shown in _CONTROL.items() if code != ord("\n")}


def split_rows(text: str) -> list[str]:
    """The rows of ``text`` without their newlines, split as Python splits them: at CR, LF and CRLF alone."""
    return re.split(r"\r\n|\r|\n", text)


def printable(row: str) -> str:
    """``row`` with tabs of fixed width and no control characters."""
    return row.rstrip("\r\n").translate(_CONTROL).replace("\t", TAB)


def printable_lines(text: str) -> str:
    """Text of several lines without control characters, but for its tabs and newlines."""
    return text.replace("\r\n", "\n").translate(_CONTROL_IN_LINES)


@lru_cache(maxsize=2)
def _rows(text: str) -> list[str]:
    """The rows of a file, which many findings are in."""
    return split_rows(text)


@lru_cache(maxsize=2)
def _lines(text: str) -> list[str]:
    """The rows of a file with their newlines."""
    return re.findall(r"[^\r\n]*(?:\r\n?|\n|\Z)", text)


def row_of(text: str, row: int) -> str:
    """One row of a text, counted from 1; "" where the text has none such, as one that is not known."""
    rows = _rows(text)
    return rows[row - 1] if row <= len(rows) else ""


class Underlined(Struct, frozen=True):
    """One row and the carets to show under it."""

    source: str
    carets: str


def underline(text: str, start: Position, end: Position) -> Underlined:
    """The row of ``start``, underlined up to ``end``, or up to its own end and ``…`` where the span goes on."""
    from rich.cells import cell_len  # imported when there is something to underline

    row = _rows(text)[start.row - 1]
    goes_on = end.row > start.row
    first, last = start.column - 1, len(row.rstrip()) if goes_on else end.column - 1
    before, span = printable(row[:first]), printable(row[first:last])
    carets = " " * cell_len(before) + "^" * max(cell_len(span), 1) + "…" * goes_on
    return Underlined(printable(row), carets)


def joined(text: str, edits: Sequence[Edit]) -> Edit:
    """All edits as one, which also holds what lies between them."""
    rows = _lines(text)
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    pieces = []
    done = ordered[0].start
    for edit in ordered:
        pieces += [_between(rows, done, edit.start), edit.content]
        done = edit.end
    return Edit(ordered[0].start, done, "".join(pieces))


def _between(rows: Sequence[str], start: Position, end: Position) -> str:
    if start.row == end.row:
        return rows[start.row - 1][start.column - 1 : end.column - 1]
    first, last = rows[start.row - 1][start.column - 1 :], rows[end.row - 1][: end.column - 1]
    return "".join([first, *rows[start.row : end.row - 1], last])


class Changed(Struct, frozen=True):
    """One row of a small diff: ``sign`` is ``-`` or ``+``; ``row`` its number in the text before, or after."""

    sign: str
    row: int
    source: str


def small_diff(text: str, edits: Sequence[Edit]) -> list[Changed]:
    """The rows that ``edits`` take away and put in, without context, in the order of the text."""
    rows = _lines(text)
    groups: list[list[Edit]] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if groups and edit.start.row <= max(other.end.row for other in groups[-1]):
            groups[-1].append(edit)
        else:
            groups.append([edit])
    changed: list[Changed] = []
    shift = 0  # how many rows the groups before have added
    for group in groups:
        part = _changed(rows, group, shift)
        shift += sum(1 if change.sign == "+" else -1 for change in part)
        changed += part
    return changed


def _changed(rows: Sequence[str], edits: Sequence[Edit], shift: int) -> list[Changed]:
    first, last = edits[0].start.row, max(edit.end.row for edit in edits)
    lines = rows[first - 1 : last]
    starts = [sum(map(len, lines[:index])) for index in range(len(lines) + 1)]
    block = "".join(lines)

    def offset(position: Position) -> int:
        return starts[position.row - first] + position.column - 1

    pieces, at = [], 0
    for edit in edits:
        pieces += [block[at : offset(edit.start)], edit.content]
        at = offset(edit.end)
    old, new = split_rows(block), split_rows("".join((*pieces, block[at:])))
    while old and new and old[0] == new[0]:
        old, new, first = old[1:], new[1:], first + 1
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    removed = [Changed("-", first + index, printable(row)) for index, row in enumerate(old)]
    return removed + [Changed("+", first + shift + index, printable(row)) for index, row in enumerate(new)]
