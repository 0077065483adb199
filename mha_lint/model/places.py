"""Where nodes stand in the text, and what encloses them; computed only for files that have something to report."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import fields
from functools import cache, cached_property

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, CodeSpan

from mha_lint.findings import Edit, Position


@cache
def _fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """What stands right below a node, read off its fields: LibCST's own way visits all as if to change them."""
    found: list[cst.CSTNode] = []
    for name in _fields(type(node)):
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += (item for item in value if isinstance(item, cst.CSTNode))
    return found


class _Spans(ByteSpanPositionProvider):
    """The provider by itself: ``MetadataWrapper`` visits all of the tree once more before it asks it."""

    def of(self, module: cst.Module) -> dict[cst.CSTNode, tuple[int, int]]:
        """Where each node starts and ends, in bytes."""
        self._gen_impl(module)
        spans = ((node, span) for node, span in self._computed.items() if isinstance(span, CodeSpan))
        return {node: (span.start, span.start + span.length) for node, span in spans}


class Places:
    """Positions (rows and columns from 1, columns in characters) and parents of the nodes of one module."""

    def __init__(self, module: cst.Module, text: str) -> None:
        self.module = module
        self.text = text

    @cached_property
    def _spans(self) -> dict[cst.CSTNode, tuple[int, int]]:
        return _Spans().of(self.module)

    @cached_property
    def _lines(self) -> tuple[bytes, list[int]]:
        data = self.text.encode("utf-8", "surrogatepass")
        starts = [0]
        for line in data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return data, starts

    @cached_property
    def _parents(self) -> dict[cst.CSTNode, cst.CSTNode]:
        parents: dict[cst.CSTNode, cst.CSTNode] = {}
        pending: list[cst.CSTNode] = [self.module]
        while pending:
            node = pending.pop()
            for child in children(node):
                parents[child] = node
                pending.append(child)
        return parents

    def _position(self, offset: int) -> Position:
        data, starts = self._lines
        row = min(bisect_right(starts, offset), max(len(starts) - 1, 1))
        column = len(data[starts[row - 1] : offset].decode("utf-8", "surrogatepass")) + 1
        return Position(row, column)

    def start(self, node: cst.CSTNode) -> Position:
        return self._position(self._spans[node][0])

    def end(self, node: cst.CSTNode) -> Position:
        return self._position(self._spans[node][1])

    def between(self, left: cst.CSTNode, right: cst.CSTNode) -> str:
        """The text from the end of ``left`` to the start of ``right``."""
        return self._lines[0][self._spans[left][1] : self._spans[right][0]].decode("utf-8", "surrogatepass")

    def end_of_receiver(self, attribute: cst.Attribute) -> Position:
        """Where ``x`` ends in ``x.name``, closing parentheses included; behind a comment if one follows."""
        start, end = self._spans[attribute.value][1], self._spans[attribute.attr][0]
        gap = self._lines[0][start:end].rpartition(b".")[0]
        kept = gap if b"#" in gap else gap[: gap.rfind(b")") + 1]
        return self._position(start + len(kept))

    def source(self, node: cst.CSTNode) -> str:
        start, end = self._spans[node]
        return self._lines[0][start:end].decode("utf-8", "surrogatepass")

    def whole(self, node: cst.CSTNode) -> str:
        """The text of an expression with the parentheses around it, which ``source`` leaves out."""
        start, end = self._with_parentheses(node)
        return self._lines[0][start:end].decode("utf-8", "surrogatepass")

    def start_of_whole(self, node: cst.CSTNode) -> Position:
        """Where an expression starts, before the parentheses around it."""
        return self._position(self._with_parentheses(node)[0])

    def end_of_whole(self, node: cst.CSTNode) -> Position:
        """Where an expression ends, behind the parentheses around it."""
        return self._position(self._with_parentheses(node)[1])

    def _with_parentheses(self, node: cst.CSTNode) -> tuple[int, int]:
        start, end = self._spans[node]
        opening, closing = getattr(node, "lpar", ()), getattr(node, "rpar", ())
        if opening and closing:
            return self._spans[opening[0]][0], self._spans[closing[-1]][1]
        return start, end

    def line(self, row: int) -> str:
        data, starts = self._lines
        return data[starts[row - 1] : starts[row] if row < len(starts) else len(data)].decode("utf-8", "surrogatepass")

    def rows(self, node: cst.CSTNode) -> tuple[int, ...]:
        return tuple(range(self.start(node).row, self.end(node).row + 1))

    def parents(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """What encloses the node, from the inside out."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def statement(self, node: cst.CSTNode) -> cst.SimpleStatementLine | None:
        """The simple statement line that holds an expression; None inside a header such as ``if …:``."""
        for parent in self.parents(node):
            if isinstance(parent, cst.SimpleStatementLine):
                return parent
            if isinstance(parent, (cst.BaseCompoundStatement, cst.SimpleStatementSuite, cst.Lambda)):
                return None
        return None

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        return next((parent for parent in self.parents(node) if isinstance(parent, cst.FunctionDef)), None)

    def block(self, statement: cst.CSTNode) -> tuple[cst.CSTNode, ...]:
        """The statements among which this one stands."""
        parent = next(self.parents(statement))
        body = getattr(parent, "body", ())
        return tuple(body) if isinstance(body, (list, tuple)) else ()

    def indent(self, statement: cst.CSTNode) -> str:
        """The white space before a statement that stands on a line of its own."""
        data, starts = self._lines
        row = self.start(statement).row
        line = data[starts[row - 1] : self._spans[statement][0]].decode("utf-8", "surrogatepass")
        return line if not line.strip() else line[: len(line) - len(line.lstrip())]

    @cached_property
    def newline(self) -> str:
        """The newline the file begins with."""
        data, _ = self._lines
        first = data.find(b"\n")
        if first < 0:
            return "\r" if b"\r" in data else "\n"
        return "\r\n" if data[first - 1 : first] == b"\r" else "\n"

    # --- edits ---------------------------------------------------------------------------------------------------

    def replace(self, node: cst.CSTNode, content: str) -> Edit:
        return Edit(self.start(node), self.end(node), content)

    def insert(self, at: Position, content: str) -> Edit:
        return Edit(at, at, content)

    def call_before(self, function: cst.Attribute, call: str) -> Edit:
        """Insert ``.call`` before a method; in a chain with one call a line, on a line of its own."""
        gap = self.between(function.value, function.attr).rpartition(".")[0].rpartition(")")[2]
        own_line = gap if "\n" in gap and "#" not in gap else ""
        return self.insert(self.start(function.attr), f"{call}{own_line}.")

    def lines_after(self, statement: cst.CSTNode, lines: list[str]) -> Edit:
        """New lines behind a statement, behind its trailing comment, with its indentation."""
        data, starts = self._lines
        row = self.end(statement).row
        indent = self.indent(statement)
        end = starts[row] if row < len(starts) else len(data)
        line = data[starts[row - 1] : end]
        body = line.rstrip(b"\r\n")
        column = len(body.decode("utf-8", "surrogatepass")) + 1
        content = "".join(f"{self.newline}{indent}{new}" if new else self.newline for new in lines)
        return self.insert(Position(row, column), content)

    def without_statement(self, statement: cst.SimpleStatementLine) -> Edit:
        """Delete a statement with its line; a comment behind it stays, on the line that it had."""
        start, end = self.start(statement), self.end(statement.body[-1])
        rest = self.line(end.row)[end.column - 1 :]
        if rest.strip():
            return Edit(start, Position(end.row, end.column + len(rest) - len(rest.lstrip())), "")
        return Edit(Position(start.row, 1), Position(end.row + 1, 1), "")
