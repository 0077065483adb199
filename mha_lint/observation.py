"""The answer of a probe: a property of attention holds, or is violated, with a counterexample."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Outcome = Literal["holds", "violated", "not applicable"]


class Observation(Struct, frozen=True):
    """One property of one module. ``words`` are the counterexample, the reason why it is not asked, or what was tried.

    ``size`` says how large the violation is, where it has a size: 0.106 for an output that changes by that much.
    """

    probe: str
    outcome: Outcome
    words: str = ""
    size: float | None = None
