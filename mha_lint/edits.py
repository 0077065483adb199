"""Applying edits to a text: all at once, each touching only the characters it names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mha_lint.findings import Edit, Position

_NEWLINE = re.compile(r"\r\n|\r|\n")


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text after all edits, whose positions are those of the text before.

    Insertions at one place are made in the order given.

    Raises:
        ValueError: two edits overlap.
    """
    starts = [0, *(match.end() for match in _NEWLINE.finditer(text))]
    spans = sorted(
        (
            (_offset(starts, edit.start), _offset(starts, edit.end), index, edit.content)
            for index, edit in enumerate(edits)
        ),
        key=lambda span: span[:3],
    )
    parts: list[str] = []
    done = 0
    for start, end, _, content in spans:
        if start < done:
            raise ValueError(f"edits overlap at offset {start}")
        parts += [text[done:start], content]
        done = end
    return "".join([*parts, text[done:]])


def _offset(starts: list[int], position: Position) -> int:
    return starts[position.row - 1] + position.column - 1


def row_after(row: int, edits: Iterable[Edit]) -> int:
    """Where a row that no edit removes stands once the edits are made."""
    return row + sum(
        len(_NEWLINE.findall(edit.content)) - (edit.end.row - edit.start.row) for edit in edits if edit.start.row < row
    )
