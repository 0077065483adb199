"""Every candidate goes through this before it is offered, whoever wrote the fixer."""

from __future__ import annotations

from dataclasses import replace

import libcst as cst

from mha_lint.edits import apply, compiles
from mha_lint.findings import Fix
from mha_lint.fixers.long_lines import laid_out
from mha_lint.fixers.unused_imports import tidied

UNPARSABLE = "the fix of {code} would not have parsed, which is a bug in its fixer: please report it with these lines"


def completed(fix: Fix, text: str, filename: str, code: str) -> Fix | str:
    """The fix without imports that it leaves unused and with long lines broken; or why it is not offered.

    The whole file is compiled as it would be after the fix. A fix that does not parse is never shown.
    """
    unparsable = UNPARSABLE.format(code=code)
    try:
        if not _parses(apply(text, fix.edits), text):
            return unparsable
        edits = laid_out(text, tidied(text, fix.edits, filename))
        if not _parses(apply(text, edits), text):
            edits = fix.edits
    except (ValueError, IndexError):  # edits that overlap, or lie outside of the file
        return unparsable
    return replace(fix, edits=edits)


def _parses(after: str, before: str) -> bool:
    """A text parses: by this interpreter or, where that can't read what it was before either, by LibCST."""
    if compiles(after):
        return True
    if compiles(before):
        return False
    try:
        cst.parse_module(after)
    except cst.ParserSyntaxError:
        return False
    return True
