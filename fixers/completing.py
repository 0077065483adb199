"""Every candidate goes through this before it is offered, whoever wrote the fixer."""

from __future__ import annotations

from dataclasses import replace

from mha_lint.edits import apply, compiles
from mha_lint.findings import Fix
from mha_lint.fixers.long_lines import laid_out
from mha_lint.fixers.unused_imports import tidied
from mha_lint.parsing import parse

UNPARSABLE = "the fix of {code} would not have parsed, which is a bug in its fixer: please report it with these lines"


def completed(fix: Fix, text: str, filename: str, code: str) -> Fix | str:
    """The fix without imports that it leaves unused and with long lines broken; or why it is not offered.

    The whole file is compiled as it would be after the fix. A fix that does not parse is never shown.
    """
    try:
        edits = laid_out(text, tidied(text, fix.edits, filename))
        if _parses(apply(text, edits), text):
            return replace(fix, edits=edits)
        if edits != fix.edits and _parses(apply(text, fix.edits), text):
            return fix
    except (ValueError, IndexError):  # edits that overlap, or lie outside of the file
        pass
    return UNPARSABLE.format(code=code)


def _parses(after: str, before: str) -> bool:
    """A text compiles; or it parses, where what it was before did no more: ``await`` in a notebook's cell."""
    if compiles(after):
        return True
    if compiles(before):
        return False
    try:
        parse(after)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
