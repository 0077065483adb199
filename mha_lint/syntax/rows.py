"""Which statements of a block can be read without the others: those that share no row with another."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from mha_lint.syntax.nodes import FUNCTIONS, Block


def first_row(statement: ast.stmt) -> int:
    """The row in which a statement starts, with its decorators."""
    return min([statement.lineno, *(each.lineno for each in decorators(statement))])


def decorators(statement: ast.stmt) -> list[ast.expr]:
    return statement.decorator_list if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) else []


def apart(block: Block, line: Callable[[int], str]) -> Iterator[tuple[int, int, list[ast.stmt]]]:
    """The first and the last row of the statements of a block; those that share a row, or one ``line``, are together.

    ``line`` gives the text of a row: one that ends with a backslash goes on in the next.
    """
    together: list[ast.stmt] = []
    first = last = 0
    for statement in block:
        row = first_row(statement)
        if together and row > last and not is_continued(line(last)):
            yield first, last, together
            together = []
        if not together:
            first = row
        together.append(statement)
        last = statement.end_lineno or statement.lineno
    if together:
        yield first, last, together


def is_continued(line: str) -> bool:
    """The statement on a row goes on in the next."""
    return line.rstrip("\r\n").endswith("\\")
