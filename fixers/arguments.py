"""One more keyword argument for a call, written as the call writes its others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Position

if TYPE_CHECKING:
    from mha_lint.model.places import Places


def with_keyword(call: cst.Call, name: str, value: str, places: Places) -> tuple[Edit, ...]:
    """The edits that hand ``name=value`` to a call, behind its last argument.

    Where each argument stands on a line of its own, so does the new one. A bare generator gets the parentheses that it
    needs beside another argument.
    """
    written = f"{name}={value}"
    if not call.args:
        end = places.end(call)
        return (places.insert(Position(end.row, end.column - 1), written),)
    last = call.args[-1]
    end = places.end(last)
    if isinstance(last.value, cst.GeneratorExp) and not last.value.lpar:
        return places.insert(places.start(last), "("), places.insert(end, f"), {written}")
    indent = _own_line(call, places)
    if indent is None:
        return (places.insert(end, f", {written}"),)
    if not isinstance(last.comma, cst.Comma):
        return (places.insert(end, f",{places.newline}{indent}{written}"),)
    behind = Position(places.end(last.comma).row + 1, 1)
    return (places.insert(behind, f"{indent}{written},{places.newline}"),)


def _own_line(call: cst.Call, places: Places) -> str | None:
    """The indentation of the last argument where all arguments stand on lines of their own, else None."""
    opening = places.end_of_whole(call.func).row
    rows = [places.start(arg).row for arg in call.args]
    if rows[0] == opening or len(set(rows)) != len(rows):
        return None
    last = call.args[-1]
    before = places.line(rows[-1])[: places.start(last).column - 1]
    if before.strip():
        return None
    if len(rows) == 1 and not isinstance(last.comma, cst.Comma):
        return None  # as much as fits on a line stands there
    if isinstance(last.comma, cst.Comma):
        behind = places.line(places.end(last.comma).row)[places.end(last.comma).column - 1 :]
        if behind.strip() and not behind.strip().startswith("#"):
            return None  # the closing parenthesis stands there
    return before
