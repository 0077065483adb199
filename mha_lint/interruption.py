"""Linting that can be given up: whoever asked for it raises a flag, and the next of many steps raises an exception.

An exception that is raised in another thread from outside would come at any line, in the one that catches it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """Nobody waits for this work any more. No ``except Exception`` on the way catches it."""


class Flag:
    """Raised by another thread to have work given up."""

    def __init__(self) -> None:
        self.is_raised = False


_flag = Flag()


@contextmanager
def interruptible(flag: Flag) -> Iterator[None]:
    """Heed a flag. No two threads lint at the same time, so that there is one flag at most."""
    global _flag
    _flag, before = flag, _flag
    try:
        yield
    finally:
        _flag = before


def check() -> None:
    """Raises :class:`Interrupted` where the flag is raised."""
    if _flag.is_raised:
        raise Interrupted
