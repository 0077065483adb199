"""Where nodes stand in the text, and what encloses them; computed only for files that have something to report."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from itertools import takewhile

from msgspec import Struct

from mha_lint.findings import Position
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import FUNCTIONS, Block, Function, children, is_simple


class NameOf(Struct, frozen=True):
    """The name alone of an attribute, a class or a function: ``view`` in ``x.view``, ``A`` in ``class A:``."""

    node: ast.AST


Spot = ast.AST | NameOf


def method_name(call: ast.Call) -> Spot:
    """The name of the method that is called, or the function."""
    return NameOf(call.func) if isinstance(call.func, ast.Attribute) else call.func


class Places:
    """Positions (rows and columns from 1, columns in characters) and parents of the nodes of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.text = module.text
        self.newline = module.newline

    @cached_property
    def _parents(self) -> dict[ast.AST, ast.AST]:
        parents: dict[ast.AST, ast.AST] = {}
        pending: list[ast.AST] = [self.module.tree]
        while pending:
            node = pending.pop()
            below = children(node)
            for child in below:
                parents[child] = node
            pending += below
        return parents

    def span(self, node: Spot) -> tuple[int, int]:
        """Where a node starts and ends, in bytes."""
        if isinstance(node, NameOf):
            start, end = self.module.span(node.node)
            if not isinstance(node.node, ast.Attribute):
                return start, end
            name = self.module.cut(start, end).split()[-1].rpartition(".")[2]  # ``attr`` may be spelled another way
            return end - len(name.encode()), end
        return self.module.span(node)

    def start(self, node: Spot) -> Position:
        return self.module.position(self.span(node)[0])

    def end(self, node: Spot) -> Position:
        return self.module.position(self.span(node)[1])

    def source(self, node: Spot) -> str:
        return self.module.cut(*self.span(node))

    def line(self, row: int) -> str:
        return self.module.line(row)

    def rows(self, node: ast.AST) -> tuple[int, ...]:
        return tuple(range(self.start(node).row, self.end(node).row + 1))

    # --- what is around a node -----------------------------------------------------------------------------------

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes that enclose the node, from the inside out."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def parent(self, node: ast.AST) -> ast.AST:
        return self._parents[node]

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The simple statement that a node is, or stands in; None in a header such as ``if …:``, and in a lambda."""
        for parent in (node, *self.parents(node)):
            if isinstance(parent, ast.Lambda):
                return None
            if isinstance(parent, ast.stmt):
                return parent if is_simple(parent) else None
        return None

    def function(self, node: ast.AST) -> Function | None:
        return next((parent for parent in self.parents(node) if isinstance(parent, FUNCTIONS)), None)

    def class_(self, node: ast.AST) -> ast.ClassDef | None:
        return next((parent for parent in self.parents(node) if isinstance(parent, ast.ClassDef)), None)

    def block(self, statement: ast.AST) -> Block:
        """The statements among which this one stands."""
        parent = self.parent(statement)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and any(each is statement for each in block):
                return block
        return []

    def stands_alone(self, statement: ast.stmt) -> bool:
        """A statement has its lines for itself, but for a comment: no other stands there, and no ``if …:``."""
        start = self.start(statement)
        before, behind = self.line(start.row)[: start.column - 1], self.behind(statement).strip()
        return not before.strip() and (not behind or behind.startswith("#"))

    def behind(self, statement: ast.stmt) -> str:
        """The rest of the line that a statement ends on, without the semicolon that may end the statement."""
        end = self.end(statement)
        rest = self.line(end.row)[end.column - 1 :]
        bare = rest.lstrip()
        return bare[1:] if bare.startswith(";") else rest

    def indent(self, statement: ast.AST) -> str:
        """The white space before the line that a statement begins on, or before the header that stands there."""
        first = self._first_of_line(statement)
        start = self.start(first)
        line = self.line(start.row)[: start.column - 1]
        if not line.strip():
            return line
        header = self.parent(first)
        if isinstance(header, ast.stmt):
            return self.indent(header)
        return line[: len(line) - len(line.lstrip())]

    def _first_of_line(self, statement: ast.AST) -> ast.AST:
        """The first of the statements that semicolons join with this one; a string in it may take several rows."""
        first = statement
        for other in reversed(_before(self.block(statement), statement)):
            if self.end(other).row != self.start(first).row:
                break
            first = other
        return first


def _before(block: Block, statement: ast.AST) -> list[ast.stmt]:
    return list(takewhile(lambda each: each is not statement, block))
