"""Findings as fast as someone types: of a text, only that part is linted anew which changed.

A file falls into parts that say none of each other's names: classes and functions with whatever mentions them. What
mentions none of them, such as imports, belongs to each part. A part is linted as a file of its own under the
name of the whole, and its findings are kept as long as its text stays the same, wherever it stands.

That is a preview. What couples two parts in another way, such as the limits that hold for a whole file, only a look
at the whole file knows, which the server takes as soon as nobody types: then its findings count.
"""

from __future__ import annotations

import ast
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mha_lint import screen
from mha_lint.files import Source
from mha_lint.findings import Finding, Position
from mha_lint.linter import looked, parse
from mha_lint.noqa import suppressed
from mha_lint.settings import Settings
from mha_lint.syntax.nodes import FUNCTIONS
from mha_lint.syntax.rows import apart
from mha_lint.syntax.words import names_in

_KEPT = 400  # parts whose findings are kept
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ROWS = re.compile(r"\b(?P<word>lines?) (?P<rows>\d+(?:, \d+)*)\b")  # as messages name them
_OF_ALL = frozenset({"__init__", "forward"})  # methods that each module has
_NOT_READ = frozenset({"__all__"})  # lists every name, and tells nothing of attention


@dataclass(frozen=True, slots=True)
class _Piece:
    """Statements that stand in the same rows, from 1."""

    first: int
    last: int
    said: _Said


@dataclass(frozen=True, slots=True)
class _Said:
    """What statements bind and mention; the methods and attributes that they define, and those they ask of others."""

    binds: frozenset[str]
    mentions: frozenset[str]
    members: frozenset[str]
    asks: frozenset[str]


class Parts:
    """Remembers the findings of parts, for one file under the same settings."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Finding, ...]] = OrderedDict()
        self._said: dict[str, _Said] = {}  # by the text of the statements

    def findings(self, source: Source, settings: Settings) -> tuple[Finding, ...] | None:
        """The findings of a text, without their fixes; None where it has but one part.

        Raises what :func:`mha_lint.linter.lint` raises.
        """
        if not screen.admits(source.code) or source.notebook is not None:
            return None
        module = parse(source)
        parts = list(self._parts(source.text, self._pieces(module.tree, module.line)))
        if len(parts) < 2:
            return None
        found = [part.placed(each) for part in parts for each in self._of(part.text, source, settings)]
        kept, _ = suppressed(source.text, sorted(found, key=lambda each: (each.location, each.code)))
        return tuple(kept)

    def _of(self, text: str, source: Source, settings: Settings) -> tuple[Finding, ...]:
        if text not in self._known:
            part = replace(source, text=text, data=text.encode("utf-8", "surrogatepass"))
            look = looked(part, settings, screened=True)
            self._known[text] = () if look is None else look.without_fixes(noqa=False).findings
        self._known.move_to_end(text)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return self._known[text]

    def _pieces(self, tree: ast.Module, line: Callable[[int], str]) -> Iterator[_Piece]:
        now: dict[str, _Said] = {}
        for first, last, statements in apart(tree.body, line):
            text = "".join(map(line, range(first, last + 1)))
            said = now[text] = self._said.get(text) or _said(statements)
            yield _Piece(first, last, said)
        self._said = now

    def _parts(self, text: str, pieces: Iterator[_Piece]) -> Iterator[_Part]:
        rows = _LINE.findall(text)
        every = list(pieces)
        defined = frozenset[str]().union(*(piece.said.binds for piece in every))
        common = [piece for piece in every if not piece.said.binds and piece.said.mentions.isdisjoint(defined)]
        for part in _linked([piece for piece in every if piece not in common]):
            yield _part(rows, sorted([*common, *part], key=lambda piece: piece.first))


def _said(statements: Sequence[ast.stmt]) -> _Said:
    binds, members, asks = set(_bound(statements)), set[str](), set[str]()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, FUNCTIONS):
            found = binds if node.decorator_list else members  # what is a property is asked of ``self`` as well
            found.add(node.name)
        elif isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not is_own:
                asks.add(node.attr)
            elif isinstance(node.ctx, ast.Store):
                members.add(node.attr)
    methods = {name for name in binds | members if name in _OF_ALL}
    return _Said(frozenset(binds - methods), _mentioned(statements), frozenset(members - methods), frozenset(asks))


def _bound(statements: Sequence[ast.stmt]) -> frozenset[str]:
    """The names that parts can be told by: those of classes and functions, and of what is made of them."""
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            found.add(statement.name)
        elif not isinstance(statement, (ast.Import, ast.ImportFrom, ast.Expr)):
            found |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)
                      and isinstance(node.ctx, ast.Store)}  # fmt: skip
    return frozenset(found - _NOT_READ)


def _mentioned(statements: Sequence[ast.stmt]) -> frozenset[str]:
    return frozenset(name for statement in statements if not _is_listing(statement) for name in names_in(statement))


def _is_listing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in _NOT_READ
        case _:
            return False


def _linked(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """The pieces that mention each other's names, directly or by others between them, together."""
    groups: list[tuple[set[str], list[_Piece]]] = []
    defined = frozenset[str]().union(*(piece.said.binds for piece in pieces))
    members = frozenset[str]().union(*(piece.said.members for piece in pieces))
    asked = members & frozenset[str]().union(*(piece.said.asks for piece in pieces))
    for piece in pieces:
        said = piece.said
        names = set(said.binds | (said.mentions & defined))
        names |= {f".{name}" for name in asked & (said.members | said.asks)}
        together = [piece]
        apart_from_it = []
        for others, group in groups:
            if others.isdisjoint(names):
                apart_from_it.append((others, group))
            else:
                names |= others
                together = [*group, *together]
        groups = [*apart_from_it, (names, together)]
    return [group for _, group in groups]


@dataclass(frozen=True)
class _Part:
    """The text of some pieces, one behind the other, and the row of the file that each of its rows is, from 1."""

    text: str
    rows: tuple[int, ...]

    def placed(self, finding: Finding) -> Finding:
        """A finding in this text as one in the file; so are the rows that its message names."""
        return replace(
            finding,
            location=self._position(finding.location),
            end_location=self._position(finding.end_location),
            noqa_row=self._row(finding.noqa_row),
            message=_ROWS.sub(self._told, finding.message),
        )

    def _row(self, row: int) -> int:
        return self.rows[row - 1] if row <= len(self.rows) else self.rows[-1] + 1

    def _position(self, place: Position) -> Position:
        return Position(self._row(place.row), place.column)

    def _told(self, match: re.Match[str]) -> str:
        numbers = [int(row) for row in match["rows"].split(", ")]
        return f"{match['word']} {', '.join(str(self._row(row)) for row in numbers)}"


def _part(rows: Sequence[str], pieces: Sequence[_Piece]) -> _Part:
    numbers = [number for piece in pieces for number in range(piece.first, piece.last + 1)]
    return _Part("".join(rows[number - 1] for number in numbers), tuple(numbers))
