"""Applying edits to a text: all at once, each touching only the characters it names."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

from mha_lint.findings import Edit, Position
from mha_lint.parsing import silently

_NEWLINE = re.compile(r"\r\n|\r|\n")


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text after all edits, whose positions are those of the text before.

    Insertions at one place are made in the order given.

    Raises:
        ValueError: two edits overlap.
    """
    starts = row_starts(text)
    parts: list[str] = []
    done = 0
    for start, end, _, content in spans(starts, edits):
        if start < done:
            raise ValueError(f"edits overlap at offset {start}")
        parts += [text[done:start], content]
        done = end
    return "".join([*parts, text[done:]])


def spans(starts: list[int], edits: Iterable[Edit]) -> list[tuple[int, int, int, str]]:
    """Start, end, index and content of the edits in the order of their places; ``starts`` are those of the rows."""
    found = (
        (offset(starts, edit.start), offset(starts, edit.end), index, edit.content) for index, edit in enumerate(edits)
    )
    return sorted(found, key=lambda span: span[:3])


def row_starts(text: str) -> list[int]:
    """The offset at which each row begins."""
    return [0, *(match.end() for match in _NEWLINE.finditer(text))]


def rows(text: str) -> list[str]:
    """The rows of a text without their newlines."""
    return _NEWLINE.split(text)


def offset(starts: list[int], position: Position) -> int:
    return starts[position.row - 1] + position.column - 1


def position(starts: list[int], at: int) -> Position:
    row = bisect_right(starts, at)
    return Position(row, at - starts[row - 1] + 1)


def row_after(row: int, edits: Iterable[Edit]) -> int:
    """Return the new number of a row that no edit removes."""
    return row + sum(
        len(_NEWLINE.findall(edit.content)) - (edit.end.row - edit.start.row) for edit in edits if edit.start.row < row
    )


def compiles(text: str) -> bool:
    """Tell whether this interpreter can compile a text; nothing of it is executed, and no warning is shown."""
    with silently():
        try:
            compile(text, "<candidate>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
