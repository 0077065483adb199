"""Whole weights: what a query takes is weighed by all of its weights, not by the one of its own key alone.

An ``einsum`` in which a letter of the weights stands twice takes their diagonal. That may be meant, so that only a rule
which read the equation asks for it.
"""

from __future__ import annotations

from mha_lint.observation import Observation
from mha_lint.validation.probes.constant_value import off
from mha_lint.validation.probes.facts import Applied, Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "whole weights"


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if seen is None or not seen.diagonals:
        raise NotApplicable("no diagonal of weights was seen to meet values")
    for each in seen.diagonals:
        farthest, _ = off(each)
        if farthest is None:
            farthest = _nothing(each)
        if farthest is not None:
            size, place = farthest
            kept = float(each.sums.reshape(-1)[place])
            words = f"a query takes its own value alone, with a weight of {kept:.3g}: its other weights reach no value"
            return Observation(NAME, "violated", words, size)
    return Observation(NAME, "holds", "the weights are all on the diagonal")


def _nothing(diagonal: Applied) -> tuple[float, int] | None:
    """Return the place of a query whose own weight is zero, though its weights are those of a softmax; None elsewhere.

    Those of a softmax add up to one, unless something was done to them since.
    """
    own = diagonal.sums.reshape(-1)
    if diagonal.weights.marks - {"its diagonal"} or not bool((own == 0).any()):
        return None
    return 1.0, int((own == 0).nonzero()[0])
