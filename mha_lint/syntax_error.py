"""A text that is not Python, as a finding of its own: MHA000."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from mha_lint.files import Source, SyntaxProblem
from mha_lint.findings import SYNTAX_ERROR, Finding, Position

NAME = "syntax-error"
WHY_OF_CELL = "Python cannot read this cell, and so nothing in it was looked at."
WHY = "Python cannot read this file, and so nothing in it was looked at."
PAGE = """\
# MHA000 syntax-error

**error** · no fix

## What it does

Says where a file is not Python, in the words of the Python that runs the tool, whose version it names: a newer one
may read more.

## Why it matters

Nothing in such a file was looked at; of a notebook, nothing in such a cell. It is a finding, with a place, in every
format of the command. The flake8 plugin leaves it to flake8, which reports it as E999.

## When it stays silent

A file without tensor work is never parsed. No setting and no comment silences a syntax error.
"""


def not_python(source: Source, refusal: SyntaxError | ValueError) -> SyntaxProblem:
    """Say in Python's words what is wrong with a text that it can't read."""
    row, column, message = 1, 1, str(refusal)
    if isinstance(refusal, SyntaxError):
        row, column, message = refusal.lineno or 1, refusal.offset or 1, refusal.msg
    return _not_python(source, message, row, column)


def _not_python(source: Source, message: str, row: int, column: int) -> SyntaxProblem:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _problem(source, f"syntax error: {message} (read as Python {version})", row, column)


def not_read_by_libcst(source: Source, place: Position) -> SyntaxProblem:
    """Say that a file in which something was found can't be shown exactly."""
    message = "LibCST cannot read this, though this Python can; update LibCST, or report it to its project"
    return _problem(source, message, place.row, place.column)


def _problem(source: Source, message: str, row: int, column: int) -> SyntaxProblem:
    rows = source.text.count("\n") + 1
    return SyntaxProblem(source.path, message, min(row, rows), max(column, 1))


def cells_not_read(source: Source) -> list[Finding]:
    """The findings about cells of a notebook that Python can't read."""
    refusals = source.notebook.refusals(source.text) if source.notebook else ()
    problems = [_not_python(source, each.message, each.place.row, each.place.column) for each in refusals]
    return [replace(told(problem), why=WHY_OF_CELL) for problem in problems]


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
