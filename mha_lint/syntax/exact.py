"""The LibCST trees of a module, beside its ``ast``: parentheses, commas and white space, to the byte.

``ast`` says where expressions are, but not what is around them. Of a file with a hit, those statements of the module
are read by LibCST in which something is asked for: it parses eight times as slowly.
"""

from __future__ import annotations

import ast
import math
import re
from bisect import bisect_right
from functools import cached_property

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, CodeSpan

from mha_lint.edits import offset, position, row_starts
from mha_lint.findings import Edit, Position
from mha_lint.interruption import check
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import walk
from mha_lint.syntax.places import NameOf, Places, Spot
from mha_lint.syntax.rows import apart

_Span = tuple[int, int]
_LONE_CR = re.compile(r"\r(?!\n)")
_FORM_FEEDS = re.compile(r"(\\\r?\n)?^[ \t]*\f[ \t\f]*", re.MULTILINE)  # where a row begins, behind a backslash or not
_NAMED = (cst.Attribute, cst.ClassDef, cst.FunctionDef)
_LITERALS = (cst.BaseString, cst.BaseNumber, cst.Ellipsis, cst.Name)

# What LibCST calls the nodes that fixers ask for.
_KINDS: dict[type[ast.AST], type[cst.CSTNode] | tuple[type[cst.CSTNode], ...]] = {
    ast.Attribute: cst.Attribute,
    ast.Await: cst.Await,
    ast.BinOp: cst.BinaryOperation,
    ast.BoolOp: cst.BooleanOperation,
    ast.Call: cst.Call,
    ast.Compare: cst.Comparison,
    ast.Constant: _LITERALS,
    ast.Dict: cst.Dict,
    ast.DictComp: cst.DictComp,
    ast.GeneratorExp: cst.GeneratorExp,
    ast.IfExp: cst.IfExp,
    ast.JoinedStr: cst.BaseString,
    ast.Lambda: cst.Lambda,
    ast.List: cst.List,
    ast.ListComp: cst.ListComp,
    ast.Name: cst.Name,
    ast.NamedExpr: cst.NamedExpr,
    ast.Set: cst.Set,
    ast.SetComp: cst.SetComp,
    ast.Subscript: cst.Subscript,
    ast.Tuple: cst.Tuple,
    ast.UnaryOp: cst.UnaryOperation,
    ast.Yield: cst.Yield,
    ast.YieldFrom: cst.Yield,
    ast.ClassDef: cst.ClassDef,
    ast.FunctionDef: cst.FunctionDef,
    ast.AsyncFunctionDef: cst.FunctionDef,
}


class Unreadable(Exception):
    """LibCST can't read a statement of the module, and says where."""

    def __init__(self, place: Position) -> None:
        super().__init__(place)
        self.place = place


class NotGivenBack(Exception):
    """LibCST reads a statement, but its tree does not say how it is written."""


class _Spans(ByteSpanPositionProvider):
    """The provider by itself: ``MetadataWrapper`` visits all of the tree once more before it asks it."""

    def of(self, module: cst.Module, offset: int) -> dict[cst.CSTNode, _Span]:
        """Where each node starts and ends, in bytes, in a text that the module stands in at an offset."""
        self._gen_impl(module)
        spans = ((node, span) for node, span in self._computed.items() if isinstance(span, CodeSpan))
        return {node: (offset + span.start, offset + span.start + span.length) for node, span in spans}


class Exact(Places):
    """Places to the byte, and the edits that are written on them.

    Whatever asks for a place may raise :class:`Unreadable` or :class:`NotGivenBack`.
    """

    def __init__(self, module: Module) -> None:
        super().__init__(module)
        self._spans: dict[cst.CSTNode, _Span] = {}
        # The expressions by their spans in ``ast``, and functions and classes by where they start.
        self._by_span: dict[_Span, list[cst.CSTNode]] = {}
        self._read: set[int] = set()  # the first rows of the statements that LibCST has read

    # --- from ast to LibCST --------------------------------------------------------------------------------------

    @cached_property
    def _statements(self) -> list[tuple[int, int]]:
        """The first and the last row of the statements of the module."""
        return [(first, last) for first, last, _ in apart(self.module.tree.body, self.module.line)]

    def read(self, row: int) -> None:
        """Have LibCST read the statement of the module that stands in a row, if one does."""
        index = bisect_right(self._statements, (row, math.inf)) - 1
        first, last = self._statements[index] if index >= 0 else (0, 0)
        if first <= row <= last and first not in self._read:
            self._read.add(first)
            self._add(first, last)

    def _add(self, first: int, last: int) -> None:
        check()
        start = self.module.starts[first - 1]
        written = self.module.cut(start, self.module.starts[last])
        text = _plain(written)
        try:
            tree = cst.parse_module(text)
        except cst.ParserSyntaxError as error:
            at = offset(row_starts(text), Position(error.raw_line, error.raw_column + 1))
            place = position(row_starts(written), at)
            raise Unreadable(Position(first - 1 + place.row, place.column)) from None
        if tree.code != text:
            raise NotGivenBack
        spans = _Spans().of(tree, start)
        self._spans.update(spans)
        for node, span in spans.items():
            if isinstance(node, (cst.ClassDef, cst.FunctionDef)):
                self._by_span.setdefault((span[0], span[0]), []).append(node)
            elif isinstance(node, (cst.Tuple, cst.GeneratorExp)) and node.lpar:  # ast counts their parentheses in
                inside = spans[node.lpar[-1]][0], spans[node.rpar[0]][1]
                self._by_span.setdefault(inside, []).append(node)
            elif isinstance(node, cst.BaseExpression):
                self._by_span.setdefault(span, []).append(node)

    def node(self, node: ast.AST) -> cst.CSTNode | None:
        """The same node of the LibCST tree.

        None for a tuple without parentheses in a subscript, which LibCST has no node for, and for what stands in an
        f-string, of which Python before 3.12 does not know where it stands.
        """
        kinds = _KINDS.get(type(node))
        if kinds is None:
            return None
        start, end = self.module.span(node)
        self.read(self.module.position(start).row)
        span = (start, start) if isinstance(node, ast.stmt) else (start, end)
        found = next((each for each in self._by_span.get(span, ()) if isinstance(each, kinds)), None)
        return self._bare_generator(node) if found is None and isinstance(node, ast.GeneratorExp) else found

    def _bare_generator(self, node: ast.GeneratorExp) -> cst.CSTNode | None:
        """The only argument of a call, where it shares the parentheses of the call, which ``ast`` counts in."""
        match self.node(self.parent(node)):
            case cst.Call(args=[cst.Arg(value=cst.GeneratorExp() as found)]):
                return found
            case _:
                return None

    @cached_property
    def attributes(self) -> dict[str, list[ast.Attribute]]:
        """The attributes that the file sets and reads, by their names."""
        found: dict[str, list[ast.Attribute]] = {}
        for node in walk(self.module.tree):
            if isinstance(node, ast.Attribute):
                found.setdefault(node.attr, []).append(node)
        return found

    # --- where things stand --------------------------------------------------------------------------------------

    def span(self, node: Spot) -> _Span:
        """Where a node starts and ends, in bytes, without the parentheses around it."""
        if isinstance(node, NameOf):
            named = self.node(node.node)
            if not isinstance(named, _NAMED):
                return super().span(node)
            return self._spans[named.attr if isinstance(named, cst.Attribute) else named.name]
        if isinstance(node, (ast.Tuple, ast.GeneratorExp)):
            bare = self.node(node)
            return super().span(node) if bare is None else self._spans[bare]
        return super().span(node)

    def _with_parentheses(self, node: ast.AST) -> _Span:
        found = self.node(node)
        opening, closing = getattr(found, "lpar", ()), getattr(found, "rpar", ())
        if opening and closing:
            return self._spans[opening[0]][0], self._spans[closing[-1]][1]
        return self.span(node)

    def is_parenthesized(self, node: ast.AST) -> bool:
        """Parentheses of its own are around an expression; those of a call are not its argument's."""
        return bool(getattr(self.node(node), "lpar", ()))

    def whole(self, node: ast.AST) -> str:
        """The text of an expression with the parentheses around it, which ``source`` leaves out."""
        return self.module.cut(*self._with_parentheses(node))

    def start_of_whole(self, node: ast.AST) -> Position:
        """Where an expression starts, before the parentheses around it."""
        return self.module.position(self._with_parentheses(node)[0])

    def end_of_whole(self, node: ast.AST) -> Position:
        """Where an expression ends, behind the parentheses around it."""
        return self.module.position(self._with_parentheses(node)[1])

    def between(self, left: Spot, right: Spot) -> str:
        """The text from the end of ``left`` to the start of ``right``."""
        return self.module.cut(self.span(left)[1], self.span(right)[0])

    def end_of_receiver(self, attribute: ast.Attribute) -> Position:
        """Where ``x`` ends in ``x.name``, closing parentheses included; behind a comment if one follows."""
        start, end = self.span(attribute.value)[1], self.span(NameOf(attribute))[0]
        gap = self.module.data[start:end].rpartition(b".")[0]
        kept = gap if b"#" in gap else gap[: gap.rfind(b")") + 1]
        return self.module.position(start + len(kept))

    def comma_behind(self, call: ast.Call) -> Position | None:
        """Where the comma behind the last argument of a call ends; None where there is none."""
        found = self.node(call)
        comma = found.args[-1].comma if isinstance(found, cst.Call) and found.args else None
        return self.module.position(self._spans[comma][1]) if isinstance(comma, cst.Comma) else None

    # --- edits ---------------------------------------------------------------------------------------------------

    def replace(self, node: Spot, content: str) -> Edit:
        return Edit(self.start(node), self.end(node), content)

    def insert(self, at: Position, content: str) -> Edit:
        return Edit(at, at, content)

    def call_before(self, function: ast.Attribute, call: str) -> Edit:
        """Insert ``.call`` before a method; in a chain with one call a line, on a line of its own."""
        name = NameOf(function)
        gap = self.between(function.value, name).rpartition(".")[0].rpartition(")")[2]
        own_line = gap if "\n" in gap and "#" not in gap else ""
        return self.insert(self.start(name), f"{call}{own_line}.")

    def lines_after(self, statement: ast.stmt, lines: list[str]) -> Edit:
        """New lines behind a statement, behind its trailing comment, with its indentation."""
        row = self.end(statement).row
        indent = self.indent(statement)
        column = len(self.line(row).rstrip("\r\n")) + 1
        content = "".join(f"{self.newline}{indent}{new}" if new else self.newline for new in lines)
        return self.insert(Position(row, column), content)

    def without_statement(self, statement: ast.stmt) -> Edit:
        """Delete a statement with its line; a comment behind it stays, on the line that it had."""
        start, row = self.start(statement), self.end(statement).row
        line, kept = self.line(row), self.behind(statement).lstrip()
        if kept:
            return Edit(start, Position(row, len(line) - len(kept) + 1), "")
        if line.endswith(("\n", "\r")):
            return Edit(Position(start.row, 1), Position(row + 1, 1), "")
        return Edit(Position(start.row, 1), Position(row, len(line) + 1), "")  # the text ends here


def _plain(text: str) -> str:
    """The text in white space that LibCST gives back; every other character keeps its offset.

    A form feed starts the indentation of its row anew, and so does a newline; behind a backslash it is a mere space.
    """
    text = _LONE_CR.sub("\n", text)
    return _FORM_FEEDS.sub(lambda match: match[0].replace("\f", " " if match[1] else "\n"), text)
