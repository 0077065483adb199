"""Comments that tell a shape: where they stand, and the edits that drop or move those that a fix makes false."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Edit, Position
from mha_lint.parsing import silently

if TYPE_CHECKING:
    from mha_lint.syntax.places import Places

_PART = re.compile(r"#[^#]*")  # a shape and a pragma may share a line
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*(?:\([^()]*\)[^()\[\]]*)*)[)\]]")
_SIZE = re.compile(r"[\w*/+.\- ]+")
_BARE = re.compile(r"^\w+(?:(?: x | X | × |, ?| )\w+){3,}$")  # `3 b h n d`, `3 x b x h x n x d`, `3, b, h, n, d`


class Comment(Struct, frozen=True):
    """A comment, or one of several behind one another: from the white space before it to its end."""

    text: str
    start: Position
    end: Position
    own_line: bool

    def shapes(self) -> list[tuple[str, ...]]:
        """The shapes that it tells, by their sizes."""
        said = self.text.lstrip("# ").strip()
        if _BARE.match(said):
            return [tuple(size for size in re.split(r" x | X | × |, ?| ", said))]
        listed = [tuple(size.strip() for size in inner.split(",")) for inner in _BRACKETS.findall(said)]
        return [sizes for sizes in listed if len(sizes) > 1 and all(_SIZE.fullmatch(size) for size in sizes)]

    def dropped(self) -> Edit:
        if self.own_line:
            return Edit(Position(self.start.row, 1), Position(self.start.row + 1, 1), "")
        return Edit(self.start, self.end, "")


def comments_on(rows: Iterable[int], places: Places) -> list[Comment]:
    """The comments on some rows, in their order."""
    known = _comments(places.text)
    return [comment for row in rows for comment in known.get(row, ())]


def comments_above(row: int, places: Places) -> list[Comment]:
    """The comments on the lines right above a row that have a line of their own."""
    known, found = _comments(places.text), list[Comment]()
    while row > 1 and (above := known.get(row - 1)) and above[0].own_line:
        found += above
        row -= 1
    return found


@lru_cache(maxsize=1)
def _comments(text: str) -> dict[int, list[Comment]]:
    found: dict[int, list[Comment]] = {}
    try:
        with silently():
            tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, tokenize.TokenError):
        return {}
    for token in tokens:
        if token.type != tokenize.COMMENT:
            continue
        row, column = token.start
        before = token.line[:column]
        for part in _PART.finditer(token.string):
            said = part[0].rstrip()
            at = column + part.start()
            start = len(token.line[:at].rstrip())
            own_line = not before.strip() and said == token.string.rstrip()
            comment = Comment(said, Position(row, start + 1), Position(row, at + len(said) + 1), own_line)
            found.setdefault(row, []).append(comment)
    return found
