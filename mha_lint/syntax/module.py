"""One module as it is read: its syntax tree and its text, and where in the text each node stands."""

from __future__ import annotations

import ast
from bisect import bisect_right
from functools import cached_property

from mha_lint.findings import Position
from mha_lint.parsing import parse
from mha_lint.syntax.nodes import FUNCTIONS


class Module:
    """The syntax tree of a text. Spans are in bytes of its UTF-8; rows and columns count from 1, in characters."""

    def __init__(self, text: str, tree: ast.Module | None = None) -> None:
        """Parse the text, unless there is its ``tree`` already. Raise what :func:`ast.parse` raises."""
        self.text = text
        self.tree = parse(text) if tree is None else tree

    @cached_property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogatepass")

    @cached_property
    def starts(self) -> list[int]:
        """Where each row starts, and where the text ends."""
        starts = [0]
        for line in self.data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node starts and ends, without the parentheses around it; those of a tuple are its own."""
        # Nobody asks for the few kinds of nodes that have no place, such as ``ast.arguments``.
        row, end_row = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        return self.starts[row - 1] + start, self.starts[end_row - 1] + end

    def source(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.cut(start, end)

    def whole(self, statement: ast.AST) -> str:
        """The text of a statement with its decorators."""
        start, end = self.span(statement)
        decorators = statement.decorator_list if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) else []
        return self.cut(min([start, *(self.span(each)[0] for each in decorators)]), end)

    def cut(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "replace")

    def position(self, offset: int) -> Position:
        row = min(bisect_right(self.starts, offset), max(len(self.starts) - 1, 1))
        return Position(row, len(self.cut(self.starts[row - 1], offset)) + 1)

    def line(self, row: int) -> str:
        return self.rows(row, row)

    def rows(self, first: int, last: int) -> str:
        """The text of the rows from the first to the last."""
        end = self.starts[last] if last < len(self.starts) else len(self.data)
        return self.cut(self.starts[first - 1], end)

    @cached_property
    def newline(self) -> str:
        """The newline that the text begins with."""
        first = self.data.find(b"\n")
        if first < 0:
            return "\r" if b"\r" in self.data else "\n"
        return "\r\n" if self.data[first - 1 : first] == b"\r" else "\n"
