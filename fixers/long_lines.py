"""Rows that an edit makes longer than the file has them are broken, by a hanging indent; no other row is touched."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.edits import apply, offset, position, row_starts, spans
from mha_lint.findings import Edit, Position
from mha_lint.parsing import silently

if TYPE_CHECKING:
    from mha_lint.model.places import Places

_LIMITS = (79, 88, 100, 120)  # PEP 8, black, and what many write
_LONG, _SEVERAL = 70, 3  # so many lines of that length tell that a file keeps to 79


@dataclass(frozen=True, slots=True)
class _Change:
    """The characters from ``start`` to ``end``, by their offsets in the edited text, become ``content``."""

    start: int
    end: int
    content: str


def laid_out(text: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The edits, with line breaks where they make a row too long for the file and it can be broken."""
    edits = tuple(edits)
    after = apply(text, edits)
    starts = row_starts(after)
    rows = sorted(_touched(starts, _written(text, edits)))
    if not any(_length(after, starts, row) > min(_LIMITS) for row in rows):
        return edits
    limit, lengths = _limit(text), _code_lengths(after)
    rows = [row for row in rows if lengths.get(row, 0) > limit]
    return _with_changes(text, edits, _breaks(after, rows, limit)) if rows else edits


# --- how long lines are


@lru_cache(maxsize=1)
def _limit(text: str) -> int:
    """The shortest usual length of a line that no code of the file exceeds."""
    lengths = _code_lengths(text).values()
    longest = max(lengths, default=0)
    if sum(length >= _LONG for length in lengths) < _SEVERAL:
        longest = max(longest, _LIMITS[0] + 1)
    return next((limit for limit in _LIMITS if longest <= limit), longest)


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
    for start, end, _, content in spans(row_starts(text), edits):
        found.append(_Change(start + moved, start + moved + len(content), content))
        moved += len(content) - (end - start)
    return found


def _touched(starts: list[int], written: list[_Change]) -> set[int]:
    """The rows of the edited text on which something was written."""
    rows: set[int] = set()
    for each in written:
        rows.update(range(position(starts, each.start).row, position(starts, each.end).row + 1))
    return rows


def _with_changes(text: str, edits: tuple[Edit, ...], changes: list[_Change]) -> tuple[Edit, ...]:
    """The edits and, on top of them, the changes; those where one straddles what an edit wrote are not made."""
    before = row_starts(text)
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


def _breaks(text: str, rows: list[int], limit: int) -> list[_Change]:
    from mha_lint.model.places import Places
    from mha_lint.model.usage import walk

    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError:
        return []
    places = Places(module, text)
    nodes = [node for node in walk(module) if isinstance(node, (cst.Call, cst.Assign))]
    found: list[_Change] = []
    for row in rows:
        here = [node for node in nodes if places.start(node).row <= row == places.end(node).row]
        layout = _Layout(text, row_starts(text), places, row, limit, module.default_indent)
        found += next(layout.ways(here), [])
    return found


@dataclass(frozen=True, slots=True)
class _Layout:
    """One row that is too long, and what has to be known to break it."""

    text: str
    starts: list[int]
    places: Places
    row: int
    limit: int
    unit: str  # of indentation

    def ways(self, nodes: list[cst.Call | cst.Assign]) -> Iterator[list[_Change]]:
        """The ways to break the row after which all fits, the best first."""
        for node in nodes:
            match node:
                case cst.Assign(value=cst.Tuple(lpar=[], elements=elements)) if len(elements) > 1:
                    bounds = self._at(self.places.start(elements[0])), self._at(self.places.end(elements[-1]))
                    yield from self._fitting(*bounds, list(elements), opening="(", closing=")")
        calls = [node for node in nodes if isinstance(node, cst.Call) and self._opens_here(node)]
        outermost = [call for call in calls if not any(self._is_within(call, other) for other in calls)]
        inner = [call for call in calls if call not in outermost]
        wide = sorted(outermost, key=self._width, reverse=True) + sorted(inner, key=self._width, reverse=True)
        for call in wide:
            start, end = self._brackets(call)
            yield from self._fitting(start, end, list(call.args))

    def _fitting(
        self, start: int, end: int, parts: list[cst.Arg] | list[cst.BaseElement], opening: str = "", closing: str = ""
    ) -> Iterator[list[_Change]]:
        """The text between two offsets is put on a line of its own, or each of its parts is."""
        newline, line = self.places.newline, self._line()
        base = line[: len(line) - len(line.lstrip())]
        inner = base + self.unit
        spans = [(self._at(self.places.start(part)), self._at(self.places.end(part.value))) for part in parts]
        spans = [
            (at, self._at(self.places.end(part)) if isinstance(part, cst.Arg) else to)
            for part, (at, to) in zip(parts, spans, strict=True)
        ]
        first, last = spans[0][0], spans[-1][1]
        head = self.text[self.starts[self.row - 1] : start] + opening
        tail = base + closing + self.text[end : self._end_of_code()]
        ends = [_Change(start, first, f"{opening}{newline}{inner}"), _Change(last, end, f"{newline}{base}{closing}")]
        if max(len(head), len(tail)) > self.limit:
            return
        comma = isinstance(parts[-1].comma, cst.Comma)
        if not opening and not comma and len(inner) + last - first <= self.limit:
            yield ends
        if len(parts) == 1 or max(len(inner) + to - at + 1 for at, to in spans) > self.limit:
            return
        between = [_Change(to, at, f",{newline}{inner}") for (_, to), (at, _) in pairwise(spans)]
        yield [ends[0], *between, _Change(last, end, f",{newline}{base}{closing}")]

    def _at(self, place: Position) -> int:
        return offset(self.starts, place)

    def _line(self) -> str:
        return self.places.line(self.row)

    def _end_of_code(self) -> int:
        return self.starts[self.row - 1] + _code_lengths(self.text)[self.row]

    def _brackets(self, call: cst.Call) -> tuple[int, int]:
        """The offsets behind the opening parenthesis of a call and before its closing one."""
        func = self._at(self.places.end_of_whole(call.func))
        return self.text.index("(", func) + 1, self._at(self.places.end(call)) - 1

    def _opens_here(self, call: cst.Call) -> bool:
        return bool(call.args) and self.places.end_of_whole(call.func).row == self.row

    def _is_within(self, call: cst.Call, other: cst.Call) -> bool:
        """A call stands among the arguments of another."""
        start, end = self._brackets(other)
        return call is not other and start <= self._at(self.places.start(call)) and self._brackets(call)[1] < end

    def _width(self, call: cst.Call) -> int:
        start, end = self._brackets(call)
        return end - start
