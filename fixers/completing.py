"""Every candidate goes through this before it is offered, whoever wrote the fixer."""

from __future__ import annotations

from operator import attrgetter

from msgspec.structs import replace

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.long_lines import laid_out
from mha_lint.fixers.newer import needed_python, needed_torch
from mha_lint.fixers.pieces import compiles, pieces, whole
from mha_lint.fixers.unused_imports import tidied

UNPARSABLE = "the fix of {code} would not have parsed, which is a bug in its fixer: please report it with these lines"


def completed(fix: Fix, text: str, filename: str, code: str) -> Fix | str:
    """The fix without imports that it leaves unused, with long lines broken and with the versions that it needs.

    Or the reason why it is not offered.

    The file compiles as it would be after the fix. A fix that does not parse is never shown.
    """
    try:
        edits = laid_out(text, tidied(text, fix.edits, filename))
        if _parses(text, edits):
            return _dated(replace(fix, edits=edits), text)
        if edits != fix.edits and _parses(text, fix.edits):
            return _dated(fix, text)
    except (ValueError, IndexError):  # edits that overlap, or lie outside of the file
        pass
    return UNPARSABLE.format(code=code)


def _dated(fix: Fix, text: str) -> Fix:
    """The fix with the versions that it needs: those that the fixer declares, or newer ones that its edits show."""
    touched = pieces(text, fix.edits)
    return replace(
        fix,
        needs_torch=max(fix.needs_torch, needed_torch(touched)),
        needs_python=max(fix.needs_python, needed_python(text, touched)),
    )


def _parses(text: str, edits: tuple[Edit, ...]) -> bool:
    """A text compiles after edits; or it parses, where before them it did no more: ``await`` in a notebook's cell."""
    wanted = attrgetter("compiles") if compiles(text) else attrgetter("parses")
    return all(map(wanted, pieces(text, edits))) or wanted(whole(text, edits))
