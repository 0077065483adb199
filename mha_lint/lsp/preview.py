"""Findings as fast as someone types: what the last look at the whole text found, and what an edit changes of that.

Only the classes, methods and functions in which something changed are interpreted on their own, in the text of that
last look and in the text as it is now. What is found in one of the two and not in the other is what the edit made, or
mended. Whatever else was found stays, at its new place: only callers, or other pieces of the text, could tell more.

That is a preview. The server looks at the whole text as soon as nobody types: then its findings count.
"""

from __future__ import annotations

import ast
import re
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mha_lint import screen
from mha_lint.files import Source
from mha_lint.findings import Finding, Position
from mha_lint.linter import Look, looked, reported
from mha_lint.lsp.pieces import Edited, Text, read
from mha_lint.settings import Settings
from mha_lint.syntax.fingerprints import digest
from mha_lint.syntax.nodes import walk

QUICK = 4_000  # steps of a look at a whole text that is taken at once; it takes some 50 ms
_MOST_CHANGED = 4  # pieces
_KEPT = 4  # looks at some classes and functions of a text
_ROWS = re.compile(r"\b(?P<word>lines?) (?P<rows>\d+(?:, \d+)*)\b")  # as messages name them


class _Whole(Struct, frozen=True):
    """A text of which all is known: what was found, those that comments silence too."""

    text: Text
    findings: Sequence[Finding]


class Preview:
    """Remembers the last look at the whole of one document, under the same settings."""

    def __init__(self, quick: int = QUICK) -> None:
        """A look at the whole that takes at most ``quick`` steps needs no preview."""
        self._quick = quick
        self._whole: _Whole | None = None
        self._last: Text | None = None  # that was read
        self._known: OrderedDict[tuple[str, frozenset[int]], list[Finding]] = OrderedDict()

    def know(self, look: Look | None, findings: Sequence[Finding]) -> None:
        """Remember a look at the whole, and what it found."""
        self._whole = self._last = None
        if look is not None and look.model.steps > self._quick:
            self._last = Text(look.source, look.model.module)
            self._whole = _Whole(self._last, findings)

    def tree(self, source: Source) -> ast.Module | None:
        """The tree of a text, if it is the last one that was read here."""
        return self._last.module.tree if self._last is not None and self._last.source.text == source.text else None

    def findings(self, source: Source, settings: Settings) -> tuple[Finding, ...] | None:
        """The findings of a text without their fixes, as far as they are known; None where only the whole can tell.

        Raises what :func:`mha_lint.linter.lint` raises.
        """
        whole = self._whole
        if whole is None or not screen.admits(source.code):
            return None
        self._last = read(source, self._last)
        edited = Edited(whole.text, self._last)
        if len(edited.pairs) > _MOST_CHANGED:
            return None
        before, now = list[Finding](), list[Finding]()
        old, new = edited.entries()
        if new:
            before = self._found(edited.before, old, settings)
            now = self._found(edited.after, new, settings)
        return reported(source, settings, list(_merged(edited, whole.findings, before, now)))

    def _found(self, text: Text, only: Collection[ast.AST], settings: Settings) -> list[Finding]:
        """What is found by some classes, methods and functions alone."""
        key = text.source.text, frozenset(node.lineno for node in only if isinstance(node, ast.stmt))
        if key not in self._known:
            look = looked(text.source, settings, text.module.tree, screened=True, only=only) if only else None
            self._known[key] = [] if look is None else look.bare()
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return self._known[key]


def _merged(
    edited: Edited, whole: Sequence[Finding], before: Sequence[Finding], now: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield the findings of the whole text before an edit, with what some of its code alone has more or less now.

    What that code alone has in both was, and is, a finding only if the whole text has it: callers may know better.
    """
    following, new = _succession(edited, before, now)
    seen = {(each.code, each.location, each.end_location): each for each in before}
    for finding in whole:
        if not edited.is_changed(finding.location.row):
            yield _moved(edited, finding)
            continue
        alone = seen.get((finding.code, finding.location, finding.end_location))
        if alone is None:
            if _is_still_there(edited, finding):
                yield _moved(edited, finding)
        elif (after := following.get(id(alone))) is not None:
            yield after if alone.message == finding.message else replace(after, message=_told(edited, finding.message))
    yield from new


def _succession(
    edited: Edited, before: Sequence[Finding], now: Sequence[Finding]
) -> tuple[dict[int, Finding], list[Finding]]:
    """What findings in changed pieces have become, by their ``id``; and those that are new there."""
    waiting = defaultdict[tuple[str, int | None], list[Finding]](list)
    for finding in before:
        waiting[finding.code, edited.row(finding.location.row)].append(finding)
    following, new = dict[int, Finding](), list[Finding]()
    for finding in now:
        if not edited.has_changed(finding.location.row):
            continue
        earlier = waiting[finding.code, finding.location.row]
        if earlier:
            same = next((each for each in earlier if each.message == finding.message), earlier[0])
            earlier.remove(same)
            following[id(same)] = finding
        else:
            new.append(finding)
    return following, new


def _is_still_there(edited: Edited, finding: Finding) -> bool:
    """The statement of a finding is the same, but for its form."""
    row = edited.row(finding.location.row)
    piece = None if row is None else edited.after.piece(row)
    if row is None or piece is None:
        return False
    statements = (node for node in walk(*piece.statements) if isinstance(node, ast.stmt))
    around = (each for each in statements if each.lineno <= row <= (each.end_lineno or each.lineno))
    return any(digest(each) == finding.statement for each in around)


def _moved(edited: Edited, finding: Finding) -> Finding:
    """A finding where its row is now; so are the rows that its message names."""
    start = finding.location.row
    row = edited.row(start) or start

    def moved(other: int) -> int:
        return edited.row(other) or row + other - start

    return replace(
        finding,
        location=Position(row, finding.location.column),
        end_location=Position(moved(finding.end_location.row), finding.end_location.column),
        noqa_row=moved(finding.noqa_row),
        message=_told(edited, finding.message),
    )


def _told(edited: Edited, message: str) -> str:
    def moved(match: re.Match[str]) -> str:
        numbers = map(int, match["rows"].split(", "))
        return f"{match['word']} {', '.join(str(edited.row(row) or row) for row in numbers)}"

    return _ROWS.sub(moved, message)
