"""Parses Python text into a syntax tree, and shows no warnings.

Python warns of escapes such as ``"\\d"`` when it parses, and from 3.12 on it shows that by default: the warnings would
be about the user's code, on our standard error, and under ``-W error`` the code would not parse at all.
"""

from __future__ import annotations

import ast
import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


def parse(source: str | bytes) -> ast.Module:
    """Raise what :func:`ast.parse` raises: SyntaxError, or ValueError for null bytes."""
    with silently():
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Raise what :func:`ast.parse` raises."""
    with silently():
        return ast.parse(source, mode="eval").body


def literal(source: str) -> Any:
    """The value of a string, or number, as it is written. Raise what :func:`ast.literal_eval` raises."""
    with silently():
        return ast.literal_eval(source)


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """A context manager in which parsing and compiling cause no warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
