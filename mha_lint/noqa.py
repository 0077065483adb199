"""Finds the comments that silence findings."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from mha_lint.findings import Finding, Position

# As flake8 reads it: alone it silences all, with codes after a colon those that start so. Case does not matter.
_INLINE = re.compile(r"#\s*noqa(?:\s*:\s*(?P<codes>(?:[A-Z]+[0-9]+(?:[,\s]+)?)+))?", re.IGNORECASE)
_WHOLE_FILE = re.compile(r"#\s*(?:mha-lint|flake8)[:=]\s*noqa(?::\s?(?P<codes>[A-Z0-9,\s]+))?\s*$", re.IGNORECASE)
_CODE = re.compile(r"[^:,\s]+")

ALL = ("",)  # every code starts with the empty prefix

# From Python 3.12 on, a string with fields in it comes in several tokens, and may hold newlines that end no row.
_OPENING = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")}
_CLOSING = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")}


class Code(Struct, frozen=True):
    """A code, or a prefix of codes, in a comment: as it is written, and the column where it starts."""

    text: str
    column: int

    @property
    def prefix(self) -> str:
        return self.text.upper()

    @property
    def end(self) -> int:
        return self.column + len(self.text)


class Directive(Struct, frozen=True):
    """A ``noqa`` in a comment: where it begins, the column where the comment ends, and the codes that it names.

    One without codes silences all. One that is ``whole`` holds for the whole file.
    """

    start: Position
    end: int
    codes: tuple[Code, ...]
    whole: bool = False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the codes that it silences start with."""
        return tuple(code.prefix for code in self.codes) or ALL


class Line(Struct, frozen=True):
    """The rows ``first`` to ``last`` that a string or a backslash joins: the last alone has room for a comment.

    ``end`` is where their text ends, before the newline. Most lines have one row.
    """

    first: int
    last: int
    end: Position
    directives: tuple[Directive, ...]


def suppressed(text: str, findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Split ``findings`` into those to keep and those that a comment in ``text`` silences.

    A comment counts on a finding's first row, its last row, and its ``noqa_row``; where a row ends within a string or
    with a backslash, on the row where that string or statement goes on to its end.
    ``# mha-lint: noqa`` or ``# flake8: noqa`` on a line of its own silences the whole file (with codes, those codes).
    """
    if not findings or "noqa" not in text.lower():
        return list(findings), []
    found = list(lines(text))
    rows: dict[int, tuple[str, ...]] = {}
    for line in found:
        prefixes = tuple(prefix for each in line.directives if not each.whole for prefix in each.prefixes)
        rows.update(dict.fromkeys(range(line.first, line.last + 1), prefixes))
    whole = [prefix for line in found for each in line.directives if each.whole for prefix in each.prefixes]
    kept: list[Finding] = []
    dropped: list[Finding] = []
    for finding in findings:
        prefixes = (*whole, *(prefix for row in read_rows(finding) for prefix in rows.get(row, ())))
        (dropped if finding.code.startswith(prefixes) else kept).append(finding)
    return kept, dropped


def read_rows(finding: Finding) -> set[int]:
    """The rows on which a comment silences a finding."""
    return {finding.location.row, last_row(finding), finding.noqa_row}


def last_row(finding: Finding) -> int:
    """A span that ends before the first column of a row ends on the row before."""
    end = finding.end_location
    return end.row - 1 if end.column == 1 and end.row > finding.location.row else end.row


def lines(text: str) -> Iterator[Line]:
    """The lines of a text, as far as it is Python, with the directives in their comments.

    As in flake8, rows that a string or a backslash joins are one line.
    """
    first = None
    end = Position(1, 1)
    directives: list[Directive] = []
    depth = 0  # of strings with fields
    for token in _tokens(text):
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        first = first or token.start[0]
        depth += (token.type in _OPENING) - (token.type in _CLOSING)
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            directives += _directives(token.string, Position(token.start[0], token.start[1] + 1), alone)
        if token.type not in (tokenize.NEWLINE, tokenize.NL):
            end = Position(token.end[0], token.end[1] + 1)
        elif depth == 0:
            if end.row < first:  # an empty row
                end = Position(token.start[0], token.start[1] + 1)
            yield Line(first, token.start[0], end, tuple(directives))
            first, directives = None, []
    if first is not None:  # the text breaks off
        yield Line(first, text.count("\n") + 1, end, tuple(directives))


def _directives(comment: str, start: Position, alone: bool) -> Iterator[Directive]:
    match = _WHOLE_FILE.match(comment) if alone else None
    whole = match is not None
    match = match or _INLINE.search(comment)
    if match is None:
        return
    column = start.column
    first, last = match.span("codes") if match["codes"] else (0, 0)
    codes = tuple(Code(each[0], column + each.start()) for each in _CODE.finditer(comment, first, last))
    yield Directive(Position(start.row, column + match.start()), column + len(comment), codes, whole)


def _tokens(text: str) -> Iterable[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text, newline=None).readline)
    except (tokenize.TokenError, SyntaxError):  # the comments so far still count
        return
