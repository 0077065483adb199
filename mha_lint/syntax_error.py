"""A text that is not Python, as a finding of its own: MHA000."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mha_lint.files import Source, SyntaxProblem
from mha_lint.findings import SYNTAX_ERROR, Finding, Position
from mha_lint.parsing import parse

if TYPE_CHECKING:
    import libcst as cst

NAME = "syntax-error"
WHY = "Python cannot read this file, and so nothing in it was looked at."
PAGE = """\
# MHA000 syntax-error

**error** · no fix

## What it does

Says where a file is not Python, in Python's own words.

## Why it matters

Nothing in such a file was looked at. It is a finding, with a place, in every format of the command. The flake8 plugin
leaves it to flake8, which reports it as E999.

## When it stays silent

A file without tensor work is never parsed. No setting and no comment silences a syntax error.
"""


def problem(source: Source, error: cst.ParserSyntaxError) -> SyntaxProblem:
    """Say in Python's words what is wrong with a text that LibCST refused; LibCST lists all possible tokens."""
    try:
        parse(source.text)
    except SyntaxError as refusal:
        row, column = refusal.lineno or error.raw_line, refusal.offset or 1
        message = f"syntax error: {refusal.msg}"
    except (ValueError, RecursionError, MemoryError) as refusal:
        row, column = error.raw_line, 1
        message = f"syntax error: {refusal}"
    else:
        row, column = error.raw_line, error.raw_column + 1
        message = "LibCST cannot read this, though this Python can; update LibCST, or report it to its project"
    rows = source.text.count("\n") + 1
    return SyntaxProblem(source.path, message, min(row, rows), max(column, 1))


def told(refused: SyntaxProblem) -> Finding:
    """A syntax error as a finding, which no setting and no comment silences."""
    place = Position(refused.row, refused.column)
    return Finding(
        code=SYNTAX_ERROR,
        name=NAME,
        severity="error",
        message=refused.message,
        why=WHY,
        filename=str(refused.path.absolute()),
        location=place,
        end_location=Position(refused.row, refused.column + 1),
        symbol="",
        noqa_row=refused.row,
    )
