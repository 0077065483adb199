"""The random numbers and the settings of numpy, where the user's code has imported it."""

from __future__ import annotations

import sys
from typing import Any

from mha_lint.validation.child.stubs import StubModule


def imported() -> Any:
    """The module numpy; None where nobody imported it, or where it is not installed and a stand-in takes its place."""
    numpy = sys.modules.get("numpy")
    return None if isinstance(numpy, StubModule) else numpy


def seed(number: int) -> None:
    """Begin the random numbers anew."""
    if (numpy := imported()) is not None:
        numpy.random.seed(number)


def random_state() -> tuple[bytes, int] | None:
    """What tells the next random numbers; None without numpy."""
    if (numpy := imported()) is None:
        return None
    _, words, place, *_ = numpy.random.get_state()
    return words.tobytes(), place


def float_errors() -> dict[str, str]:
    """What numpy does about errors of floats; nothing without numpy."""
    numpy = imported()
    return {} if numpy is None else dict(numpy.geterr())


def set_float_errors(earlier: dict[str, str]) -> None:
    """Put back what :func:`float_errors` returned."""
    if earlier and (numpy := imported()) is not None:
        numpy.seterr(**earlier)
