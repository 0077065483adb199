"""Whole weights: what a query takes is weighed by all of its weights, not by the one of its own key alone.

An ``einsum`` in which a letter of the weights stands twice takes their diagonal. That may be meant, so that only a rule
which read the equation asks for it.
"""

from __future__ import annotations

from mha_lint.observation import Observation
from mha_lint.validation.probes.constant_value import off
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "whole weights"


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if seen is None or not seen.diagonals:
        raise NotApplicable("no diagonal of weights was seen to meet values")
    for each in seen.diagonals:
        farthest, _ = off(each)
        if farthest is not None:
            size, place = farthest
            kept = float(each.sums.reshape(-1)[place])
            words = f"a query takes its own value alone, with a weight of {kept:.3g}: its other weights reach no value"
            return Observation(NAME, "violated", words, size)
    return Observation(NAME, "holds", "the weights are all on the diagonal")
