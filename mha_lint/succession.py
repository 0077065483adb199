"""What became of each finding of a text once fixes have changed the text: it is still there, or what took its place.

Two findings are the same where code, symbol and message are, at the same place if possible. One whose message alone has
changed counts as still there: only what linting finds no more is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from mha_lint import edits as editing
from mha_lint.findings import Edit, Finding, Position


class Gone(Struct, frozen=True):
    """A finding that is not in the last text, though no fix of its own was applied; ``why`` names the one that was."""

    finding: Finding
    why: str


def successors(old: Sequence[Finding], new: Sequence[Finding], edits: Sequence[Edit]) -> list[Finding | None]:
    """The finding of the new text that each of the old one is now; None where it is gone.

    ``edits`` are those that made the new text of the old one.
    """
    alike: tuple[Callable[[Finding, Finding], bool], ...] = (
        lambda one, other: one.message == other.message and _row(one, edits) == other.location.row,
        lambda one, other: one.message == other.message,
        lambda one, other: True,
    )
    found: list[Finding | None] = [None] * len(old)
    left = list(new)
    for is_like in alike:
        for place, finding in enumerate(old):
            if found[place] is not None:
                continue
            same = (each for each in left if (each.code, each.symbol) == (finding.code, finding.symbol))
            found[place] = match = next((each for each in same if is_like(finding, each)), None)
            if match is not None:
                left.remove(match)
    return found


def why_gone(finding: Finding, applied: Iterable[Finding]) -> str:
    """Say which fixes of others, of the same text, took a finding with them."""
    fixes = list(applied)
    own = [(finding.location, finding.end_location)]
    own += [(edit.start, edit.end) for edit in finding.fix.edits] if finding.fix else []
    over = [each.code for each in fixes if each.fix and any(_meets(edit, own) for edit in each.fix.edits)]
    if over:
        return f"its place was rewritten by the fix of {_listed(over)}"
    return f"the fix of {_listed([each.code for each in fixes])} mended it too"


def _row(finding: Finding, edits: Iterable[Edit]) -> int:
    return editing.row_after(finding.location.row, edits)


def _meets(edit: Edit, spans: Iterable[tuple[Position, Position]]) -> bool:
    return any(edit.start < end and start < edit.end for start, end in spans)


def _listed(codes: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(codes))
