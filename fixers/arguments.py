"""One more keyword argument for a call, written as the call writes its others."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Position

if TYPE_CHECKING:
    from mha_lint.syntax.exact import Exact


def written_arguments(call: ast.Call) -> list[ast.expr | ast.keyword]:
    """The arguments of a call in the order of the text, in which ``*more`` may stand behind ``name=value``."""
    return sorted([*call.args, *call.keywords], key=lambda argument: (argument.lineno, argument.col_offset))


def with_keyword(call: ast.Call, name: str, value: str, places: Exact) -> tuple[Edit, ...]:
    """The edits that hand ``name=value`` to a call, behind its last argument.

    Where each argument stands on a line of its own, so does the new one. A bare generator gets the parentheses that it
    needs beside another argument.
    """
    written = f"{name}={value}"
    arguments = written_arguments(call)
    if not arguments:
        end = places.end(call)
        return (places.insert(Position(end.row, end.column - 1), written),)
    last = arguments[-1]
    end = places.end_of_whole(last)
    if isinstance(last, ast.GeneratorExp) and not places.is_parenthesized(last):
        return places.insert(places.start(last), "("), places.insert(end, f"), {written}")
    comma = places.comma_behind(call)
    indent = _own_line(call, arguments, comma, places)
    if indent is None:
        return (places.insert(end, f", {written}"),)
    if comma is None:
        return (places.insert(end, f",{places.newline}{indent}{written}"),)
    return (places.insert(Position(comma.row + 1, 1), f"{indent}{written},{places.newline}"),)


def without_argument(call: ast.Call, argument: ast.expr | ast.keyword, places: Exact) -> Edit:
    """The edit that takes one of several arguments out of a call, with the comma that parts it from its neighbour."""
    arguments = written_arguments(call)
    index = next(at for at, each in enumerate(arguments) if each is argument)
    if index:
        return Edit(places.end_of_whole(arguments[index - 1]), places.end_of_whole(argument), "")
    following = places.end_of_whole(argument) if len(arguments) == 1 else places.start_of_whole(arguments[1])
    return Edit(places.start_of_whole(argument), following, "")


def _own_line(
    call: ast.Call, arguments: list[ast.expr | ast.keyword], comma: Position | None, places: Exact
) -> str | None:
    """The indentation of the last argument where all arguments stand on lines of their own, else None.

    ``comma`` is where the one behind the last argument ends.
    """
    opening = places.end_of_whole(call.func).row
    starts = [places.start_of_whole(argument) for argument in arguments]
    rows = [start.row for start in starts]
    if rows[0] == opening or len(set(rows)) != len(rows):
        return None
    before = places.line(rows[-1])[: starts[-1].column - 1]
    if before.strip():
        return None
    if comma is None:
        return before if len(rows) > 1 else None  # as much as fits on a line stands there
    behind = places.line(comma.row)[comma.column - 1 :].strip()
    if behind and not behind.startswith("#"):
        return None  # the closing parenthesis stands there
    return before
