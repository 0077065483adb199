"""The pieces of a text that edits touch, as they read afterwards, so that the rest need not be read again.

A piece is the rows of some neighbouring statements of one block: of the module, of a class, or of a function. Python
reads a piece alike whatever stands before and behind it in its block, as long as it begins and ends where statements
do. So a text that compiles still does after edits if each piece that they touch does, among statements that do
nothing, under headers like its own. What one statement of a block forbids another (``global``, ``nonlocal``,
``from __future__``, and ``return`` beside ``yield`` in an ``async`` function) keeps a block in one piece. Where a piece
does not read by itself, the whole text is the only piece.
"""

from __future__ import annotations
import __future__

import ast
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from types import CodeType
from typing import TypeGuard

from msgspec import Struct

from mha_lint.edits import row_starts, spans
from mha_lint.findings import Edit
from mha_lint.parsing import silently
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import FUNCTIONS, children, walk
from mha_lint.syntax.rows import apart, decorators, first_row, is_continued

_Span = tuple[int, int, str]  # where an edit starts and ends, and its content
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


class Piece(Struct, frozen=True, dict=True):
    """Some neighbouring statements of a text, and their rows after the edits.

    ``text`` holds the rows among what they need around them in order to be Python; they start at ``start`` there, and
    at ``place`` in the edited text. ``written`` are the spans in the rows that the edits wrote.
    """

    before: Sequence[ast.stmt]
    text: str
    start: int
    place: int
    written: tuple[tuple[int, int], ...]
    depth: int  # of the block among the headers
    flags: int  # of the imports from __future__

    @cached_property
    def after(self) -> Sequence[ast.stmt] | None:
        """The statements after the edits; None where they are no Python."""
        tree = _compiled(self.text, self.flags | ast.PyCF_ONLY_AST)
        if not isinstance(tree, ast.Module):
            return None
        body = tree.body
        for _ in range(self.depth):
            match body:
                case [ast.ClassDef() | ast.FunctionDef() as around]:
                    body = around.body
                case _:
                    return None
        return body[1:-1] if self.start else body

    @property
    def parses(self) -> bool:
        return self.after is not None

    @cached_property
    def compiles(self) -> bool:
        return _compiled(self.text, self.flags) is not None


def pieces(text: str, edits: Iterable[Edit]) -> tuple[Piece, ...]:
    """The pieces that edits touch, in the order of their places.

    Raises:
        ValueError: edits overlap.
        IndexError: an edit lies outside of the text.
    """
    return _pieces(text, tuple(edits))


def whole(text: str, edits: Iterable[Edit]) -> Piece:
    """The whole text as one piece. Raise what :func:`pieces` raises."""
    known = _text(text)
    return known.whole(_spans(known.starts, edits))


@lru_cache(maxsize=4)
def _pieces(text: str, edits: tuple[Edit, ...]) -> tuple[Piece, ...]:
    known = _text(text)
    ordered = _spans(known.starts, edits)
    found = known.touched(ordered)
    return (known.whole(ordered),) if found is None else found


@lru_cache(maxsize=2)
def _text(text: str) -> _Text:
    return _Text(text)


def tree_of(text: str) -> ast.Module | None:
    """The syntax tree of a text; None where it is no Python."""
    return _text(text).tree


def compiles(text: str) -> bool:
    """Tell whether this interpreter compiles a text, which many edits are made to."""
    return _text(text).compiles


def starts_of(text: str) -> list[int]:
    """The offset at which each row of a text begins."""
    return _text(text).starts


def newline_of(text: str) -> str:
    """The newline that a text begins with."""
    return _text(text).newline


def _spans(starts: list[int], edits: Iterable[Edit]) -> list[_Span]:
    """The spans of edits in the order of their places. Raise ValueError where two overlap."""
    found = [(start, end, content) for start, end, _, content in spans(starts, edits)]
    done = 0
    for start, end, _ in found:
        if start < done:
            raise ValueError(f"edits overlap at offset {start}")
        done = end
    return found


def _compiled(text: str, flags: int) -> ast.Module | CodeType | None:
    with silently():
        try:
            made: ast.Module | CodeType = compile(text, "<candidate>", "exec", flags=flags, dont_inherit=True)
        except _UNREADABLE:
            return None
    return made


# --- where a text may be cut -------------------------------------------------------------------------------------


class _Rows(Struct, frozen=True):
    """The rows of neighbouring statements, with the comments above them, from one offset to another."""

    start: int
    end: int
    statements: tuple[ast.stmt, ...]

    def is_within(self, other: _Rows) -> bool:
        return other.start <= self.start and self.end <= other.end


class _Block(Struct, frozen=True):
    """The statements of a module, a class or a function, each on rows that it shares with no statement of another."""

    headers: tuple[str, ...]
    indent: str
    deep: bool  # a function, all of which is one scope
    parts: tuple[_Rows, ...]
    starts: tuple[int, ...]

    def around(self, start: int, end: int) -> _Rows | None:
        """The rows of the statements that a span touches; None where it goes beyond the block."""
        first = bisect_right(self.starts, start) - 1
        last = max(bisect_right(self.starts, end - 1) - 1, first)
        if first < 0 or end > self.parts[last].end:
            return None
        if self.headers and start == self.parts[last].end:
            return None  # it is behind the block
        if first == last:
            return self.parts[first]
        parts = self.parts[first : last + 1]
        return _Rows(parts[0].start, parts[-1].end, tuple(each for part in parts for each in part.statements))


class _Text:
    """A text that edits are made to: what is known of it is worked out once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = row_starts(text)
        self._blocks: dict[ast.AST, _Block | None] = {}

    @cached_property
    def tree(self) -> ast.Module | None:
        tree = _compiled(self.text, ast.PyCF_ONLY_AST)
        return tree if isinstance(tree, ast.Module) else None

    @cached_property
    def compiles(self) -> bool:
        return _compiled(self.text, 0) is not None

    @cached_property
    def newline(self) -> str:
        return Module(self.text, ast.Module([], [])).newline

    @cached_property
    def _future(self) -> tuple[int, int]:
        """The flags of the imports from ``__future__``, and where the last of them ends."""
        flags = end = 0
        for statement in self.tree.body if self.tree is not None else ():
            if _is_of_the_future(statement):
                end = self._end(statement.end_lineno or statement.lineno)
                for alias in statement.names:
                    if alias.name in __future__.all_feature_names:
                        flags |= getattr(__future__, alias.name).compiler_flag
        return flags, end

    def whole(self, ordered: list[_Span]) -> Piece:
        """The whole text as one piece."""
        text, written = _edited(self.text, 0, len(self.text), ordered)
        before = self.tree.body if self.tree is not None else []
        return Piece(before, text, 0, 0, written, depth=0, flags=0)

    def touched(self, ordered: list[_Span]) -> tuple[Piece, ...] | None:
        """The pieces that edits touch; None where they can't be read by themselves."""
        found: dict[tuple[int, int], tuple[_Block, _Rows, list[_Span]]] = {}
        for span in ordered:
            place = self._innermost(span[0], span[1])
            if place is None:
                return None
            found.setdefault((place[1].start, place[1].end), (*place, []))
        outermost: list[tuple[_Block, _Rows, list[_Span]]] = []
        for each in sorted(found.values(), key=lambda each: (each[1].start, -each[1].end)):
            if outermost and each[1].end <= outermost[-1][1].end:
                continue  # it is a part of a piece
            if outermost and each[1].start < outermost[-1][1].end:
                return None
            outermost.append(each)
        for span in ordered:
            home = next(each for each in reversed(outermost) if each[1].start <= span[0])
            home[2].append(span)
        touched = Counter(id(block) for block, rows, _ in outermost for part in block.parts if part.is_within(rows))
        moved = 0
        made: list[Piece] = []
        for block, rows, mine in outermost:
            piece = self._piece(block, rows, mine, rows.start + moved)
            if piece is None:
                return None
            made.append(piece)
            if not piece.after and block.headers and touched[id(block)] == len(block.parts):
                return None  # the block may be left empty
            moved += sum(len(content) - (end - start) for start, end, content in mine)
        return tuple(made)

    def _piece(self, block: _Block, rows: _Rows, ordered: list[_Span], place: int) -> Piece | None:
        """One piece; None where it can't be read by itself."""
        flags, future = self._future
        if rows.start < future:
            return None
        inside, written = _edited(self.text, rows.start, rows.end, ordered)
        is_last = rows.end == len(self.text)
        if inside and not inside.endswith(("\n", "\r")):
            if not is_last:
                return None  # what stands behind is joined to it
            inside += self.newline
        if inside.rstrip().endswith("\\"):
            return None
        nothing = f"{block.indent}pass{self.newline}"
        head = "".join(f"{header}{self.newline}" for header in block.headers) + nothing
        piece = Piece(rows.statements, head + inside + nothing, len(head), place, written, len(block.headers), flags)
        if piece.after is None or _reaches_out(piece.after, deep=block.deep):
            return None
        return None if any(map(_is_of_the_future, piece.after)) else piece

    def _innermost(self, start: int, end: int) -> tuple[_Block, _Rows] | None:
        """The fewest statements that a span lies in, and their block."""
        if self.tree is None:
            return None
        block = self._block(self.tree)
        if block is None:
            return None
        rows = block.around(start, end)
        while rows is not None:
            inner = self._block(rows.statements[0], block) if len(rows.statements) == 1 else None
            deeper = None if inner is None else inner.around(start, end)
            if inner is None or deeper is None:
                return block, rows
            block, rows = inner, deeper
        return None

    def _block(self, node: ast.AST, around: _Block | None = None) -> _Block | None:
        if node not in self._blocks:
            self._blocks[node] = self._cut(node, around)
        return self._blocks[node]

    def _cut(self, node: ast.AST, around: _Block | None) -> _Block | None:
        """The block of a node, if it can be read in pieces."""
        match node:
            case ast.Module(body=body):
                headers: tuple[str, ...] = ()
            case ast.ClassDef(name=name, body=body) if around is not None and not around.deep:
                headers = (*around.headers, f"{around.indent}class {name}:")
            case ast.FunctionDef(body=body) if around is not None and not around.deep:
                headers = (*around.headers, f"{around.indent}def _():")
            case _:
                return None
        deep = isinstance(node, ast.FunctionDef)
        if _reaches_out(body, deep=deep):
            return None
        first, indent = 0, ""
        if around is not None:
            row = first_row(body[0])
            first = self.starts[row - 1]
            line = self._line(row)
            indent = line[: len(line) - len(line.lstrip())]
            if len(indent.encode()) != body[0].col_offset and not decorators(body[0]):
                return None  # it stands behind its header
            if is_continued(self._line(row - 1)):
                return None
        parts = tuple(self._parts(body, first, to_the_end=around is None))
        return _Block(headers, indent, deep, parts, tuple(part.start for part in parts))

    def _parts(self, body: list[ast.stmt], first: int, *, to_the_end: bool) -> Iterator[_Rows]:
        """The statements by their rows; those that share one stay together."""
        start = first
        for _, last, together in apart(body, self._line):
            yield _Rows(start, self._end(last), tuple(together))
            start = self._end(last)
        if to_the_end and (not body or self.text.endswith(("\n", "\r"))):
            yield _Rows(start, len(self.text), ())

    def _end(self, row: int) -> int:
        return self.starts[row] if row < len(self.starts) else len(self.text)

    def _line(self, row: int) -> str:
        return self.text[self.starts[row - 1] : self._end(row)]


def _is_of_the_future(statement: ast.AST) -> TypeGuard[ast.ImportFrom]:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _reaches_out(body: Sequence[ast.stmt], *, deep: bool) -> bool:
    """Statements say something of others in their scope; with ``deep``, the functions in it belong to the scope."""
    nodes = walk(*body) if deep else _own_scope(body)
    return any(isinstance(node, (ast.Global, ast.Nonlocal)) for node in nodes)


def _own_scope(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """The statements of a scope, without those of the functions and classes in it."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, (ast.expr, ast.ClassDef, *FUNCTIONS)):
            continue
        pending += children(node)


def _edited(text: str, start: int, end: int, ordered: list[_Span]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A part of a text after edits, and where in it their contents stand."""
    parts: list[str] = []
    written: list[tuple[int, int]] = []
    at, length = start, 0
    for first, last, content in ordered:
        length += first - at
        written.append((length, length + len(content)))
        parts += [text[at:first], content]
        length += len(content)
        at = last
    return "".join([*parts, text[at:end]]), tuple(written)
