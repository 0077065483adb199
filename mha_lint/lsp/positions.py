"""Positions of findings, in rows and characters from 1, and those of the protocol, in rows and code units from 0."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from mha_lint.findings import Position

_WIDTHS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def units(text: str, encoding: str) -> int:
    """The code units of a text in the encoding that client and server have agreed on."""
    codec, width = _WIDTHS[encoding]
    return len(text.encode(codec, "surrogatepass")) // width


def to_client(rows: Sequence[str], place: Position, encoding: str) -> types.Position:
    """A position in a text as the client counts. What lies behind the end of a row is at its end."""
    row = min(place.row, len(rows))
    line = rows[row - 1]
    column = place.column if row == place.row else len(line) + 1
    return types.Position(row - 1, units(line[: column - 1], encoding))


def from_client(rows: Sequence[str], place: types.Position, encoding: str) -> Position:
    """A position of the client as findings count: that of the character in which it lies."""
    if place.line >= len(rows):
        return Position(len(rows), len(rows[-1]) + 1)
    line = rows[place.line]
    codec, width = _WIDTHS[encoding]
    before = line.encode(codec, "surrogatepass")[: place.character * width]
    return Position(place.line + 1, len(before.decode(codec, "ignore")) + 1)
