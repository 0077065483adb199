"""Rows that an edit makes longer than the file has them are broken, by a hanging indent; no other row is touched."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from mha_lint.edits import offset, position, row_starts, spans
from mha_lint.findings import Edit, Position
from mha_lint.fixers.arguments import written_arguments
from mha_lint.fixers.pieces import Piece, pieces, starts_of
from mha_lint.parsing import silently
from mha_lint.syntax.exact import Exact, NotGivenBack, Unreadable
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import walk

_LIMITS = (79, 88, 100, 120)  # PEP 8, black, and what many write
_LONG, _SEVERAL = 70, 3  # so many lines of that length tell that a file keeps to 79


class _Change(Struct, frozen=True):
    """The characters from ``start`` to ``end``, by their offsets in the edited text, become ``content``."""

    start: int
    end: int
    content: str


def laid_out(text: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The edits, with line breaks where they make a row too long for the file and it can be broken."""
    edits = tuple(edits)
    changes = [change for piece in pieces(text, edits) for change in _changes(piece, text)]
    return _with_changes(text, edits, changes) if changes else edits


def _changes(piece: Piece, text: str) -> list[_Change]:
    """The line breaks in one of the pieces of a text, by their offsets in the edited text."""
    starts = row_starts(piece.text)
    written = ((piece.start + start, piece.start + end) for start, end in piece.written)
    rows = sorted(_touched(starts, written))
    if not any(_length(piece.text, starts, row) > min(_LIMITS) for row in rows):
        return []
    limit, lengths = _limit(text), _code_lengths(piece.text)
    rows = [row for row in rows if lengths.get(row, 0) > limit]
    moved = piece.place - piece.start
    found = _breaks(piece.text, rows, limit, lengths, _indentation(text)) if rows else []
    return [_Change(each.start + moved, each.end + moved, each.content) for each in found]


# --- how long lines are


@lru_cache(maxsize=2)
def _limit(text: str) -> int:
    """The shortest usual length of a line that no code of the file exceeds."""
    lengths = _code_lengths(text).values()
    longest = max(lengths, default=0)
    if sum(length >= _LONG for length in lengths) < _SEVERAL:
        longest = max(longest, _LIMITS[0] + 1)
    return next((limit for limit in _LIMITS if longest <= limit), longest)


@lru_cache(maxsize=2)
def _indentation(text: str) -> str:
    """The first indentation of a file, which is its unit."""
    with suppress(SyntaxError, tokenize.TokenError), silently():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.INDENT:
                return token.string
    return "    "


def _code_lengths(text: str) -> dict[int, int]:
    """The length of each row of code, without a comment behind it; rows inside of long strings are left out."""
    lengths: dict[int, int] = {}
    try:
        with silently():
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                row, end = token.end
                if token.type not in (tokenize.COMMENT, tokenize.NEWLINE, tokenize.NL) and token.start[0] == row:
                    lengths[row] = max(lengths.get(row, 0), end)
    except (SyntaxError, tokenize.TokenError):
        return {}
    return lengths


def _length(text: str, starts: list[int], row: int) -> int:
    end = starts[row] if row < len(starts) else len(text)
    return len(text[starts[row - 1] : end].rstrip())


# --- what was written where


def _written(text: str, edits: tuple[Edit, ...]) -> list[_Change]:
    """Where the contents of the edits, in the order of their places, stand in the edited text."""
    moved, found = 0, []
    for start, end, _, content in spans(starts_of(text), edits):
        found.append(_Change(start + moved, start + moved + len(content), content))
        moved += len(content) - (end - start)
    return found


def _touched(starts: list[int], written: Iterable[tuple[int, int]]) -> set[int]:
    """The rows of an edited text on which something was written."""
    rows: set[int] = set()
    for start, end in written:
        rows.update(range(position(starts, start).row, position(starts, end).row + 1))
    return rows


def _with_changes(text: str, edits: tuple[Edit, ...], changes: list[_Change]) -> tuple[Edit, ...]:
    """The edits and, on top of them, the changes; those where one straddles what an edit wrote are not made."""
    before = starts_of(text)
    contents: list[str] = []
    added: list[Edit] = []
    moved, left = 0, list(changes)
    order = spans(before, edits)
    for (start, end, _, content), here in zip(order, _written(text, edits), strict=True):
        ahead = [change for change in left if change.end <= here.start and change.start < here.start]
        inside = [change for change in left if here.start <= change.start and change.end <= here.end]
        added += [_moved(change, -moved, before) for change in ahead]
        left = [change for change in left if change not in ahead and change not in inside]
        if any(change.start < here.end and change.end > here.start for change in left):
            return edits
        for change in sorted(inside, key=lambda change: change.start, reverse=True):
            content = content[: change.start - here.start] + change.content + content[change.end - here.start :]
        contents.append(content)
        moved += len(here.content) - (end - start)
    added += [_moved(change, -moved, before) for change in left]
    places = [(position(before, start), position(before, end)) for start, end, _, _ in order]
    made = [Edit(start, end, content) for (start, end), content in zip(places, contents, strict=True)]
    return (*made, *added)


def _moved(change: _Change, by: int, starts: list[int]) -> Edit:
    return Edit(position(starts, change.start + by), position(starts, change.end + by), change.content)


# --- where a row is broken


def _breaks(text: str, rows: list[int], limit: int, lengths: dict[int, int], unit: str) -> list[_Change]:
    """The changes that break the rows, whose ``lengths`` are known; none for a row that can't be broken."""
    try:
        places, starts = Exact(Module(text)), row_starts(text)
        for row in rows:
            places.read(row)
    except (NotGivenBack, Unreadable, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    nodes = [node for node in walk(places.module.tree) if isinstance(node, (ast.Call, ast.Assign))]
    found: list[_Change] = []
    for row in rows:
        here = [node for node in nodes if places.start(node).row <= row == places.end(node).row]
        end = starts[row - 1] + lengths[row]
        found += next(_Layout(text, starts, places, row, end, limit, unit).ways(here), [])
    return found


class _Layout(Struct, frozen=True):
    """One row that is too long, and what has to be known to break it."""

    text: str
    starts: list[int]
    places: Exact
    row: int
    end: int  # of the code on the row
    limit: int
    unit: str  # of indentation

    def ways(self, nodes: list[ast.Call | ast.Assign]) -> Iterator[list[_Change]]:
        """The ways to break the row after which all fits, the best first."""
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and self._is_bare(node.value):
                parts = [self._whole(element) for element in node.value.elts]
                yield from self._fitting(parts[0][0], parts[-1][1], parts, comma=False, opening="(", closing=")")
        calls = [node for node in nodes if isinstance(node, ast.Call) and self._opens_here(node)]
        outermost = [call for call in calls if not any(self._is_within(call, other) for other in calls)]
        inner = [call for call in calls if call not in outermost]
        wide = sorted(outermost, key=self._width, reverse=True) + sorted(inner, key=self._width, reverse=True)
        for call in wide:
            parts = [self._whole(argument) for argument in written_arguments(call)]
            yield from self._fitting(*self._brackets(call), parts, comma=self.places.comma_behind(call) is not None)

    def _fitting(
        self, start: int, end: int, parts: list[tuple[int, int]], *, comma: bool, opening: str = "", closing: str = ""
    ) -> Iterator[list[_Change]]:
        """The text between two offsets is put on a line of its own, or each of its parts is.

        ``comma`` where one stands behind the last part already.
        """
        newline, line = self.places.newline, self.places.line(self.row)
        base = line[: len(line) - len(line.lstrip())]
        inner = base + self.unit
        first, last = parts[0][0], parts[-1][1]
        head = self.text[self.starts[self.row - 1] : start] + opening
        tail = base + closing + self.text[end : self.end]
        ends = [_Change(start, first, f"{opening}{newline}{inner}"), _Change(last, end, f"{newline}{base}{closing}")]
        if max(len(head), len(tail)) > self.limit:
            return
        if not opening and not comma and len(inner) + last - first <= self.limit:
            yield ends
        if len(parts) == 1 or max(len(inner) + to - at + 1 for at, to in parts) > self.limit:
            return
        between = [_Change(to, at, f",{newline}{inner}") for (_, to), (at, _) in pairwise(parts)]
        yield [ends[0], *between, _Change(last, end, f",{newline}{base}{closing}")]

    def _at(self, place: Position) -> int:
        return offset(self.starts, place)

    def _whole(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Where a part starts and ends, with the parentheses around it."""
        return self._at(self.places.start_of_whole(node)), self._at(self.places.end_of_whole(node))

    def _is_bare(self, several: ast.Tuple) -> bool:
        """Neither parentheses are around several values, nor is a comma behind the last, which would be outside."""
        if len(several.elts) < 2 or self.places.is_parenthesized(several):
            return False
        return self.places.end(several) == self.places.end_of_whole(several.elts[-1])

    def _brackets(self, call: ast.Call) -> tuple[int, int]:
        """The offsets behind the opening parenthesis of a call and before its closing one."""
        func = self._at(self.places.end_of_whole(call.func))
        return self.text.index("(", func) + 1, self._at(self.places.end(call)) - 1

    def _opens_here(self, call: ast.Call) -> bool:
        return bool(call.args or call.keywords) and self.places.end_of_whole(call.func).row == self.row

    def _is_within(self, call: ast.Call, other: ast.Call) -> bool:
        """A call stands among the arguments of another."""
        start, end = self._brackets(other)
        return call is not other and start <= self._at(self.places.start(call)) and self._brackets(call)[1] < end

    def _width(self, call: ast.Call) -> int:
        start, end = self._brackets(call)
        return end - start
