"""Equal values: from tokens that are all alike, attention weighs values that are all alike.

Asked by corrections alone. The weights may be whatever they are, so that masks, windows and relative positions do not
matter, and neither does the number of queries. It does not hold where positions are added to the tokens, or where a
convolution pads them.
"""

from __future__ import annotations

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Applied, Seen
from mha_lint.validation.probes.sequence import alike, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.probes.trace import traced

NAME = "equal values"
_SLACK = 8  # sums over the features round otherwise from row to row
# The dims of tokens in inputs of so many dims, in two ways to lay them out: channels last, and channels first.
_LAYOUTS: tuple[dict[int, tuple[int, ...]], ...] = (
    {3: (1,), 4: (1, 2), 5: (1, 2, 3)},
    {3: (2,), 4: (2, 3), 5: (2, 3, 4)},
)


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if not insist:
        raise NotApplicable("its tokens may have positions")
    if seen is None or not any(_is_of_several(each) for each in seen.applied):
        raise NotApplicable("no values of several keys were seen")
    found = [each for each in (_observed(subject, layout) for layout in _LAYOUTS) if each is not None]
    if not found:
        raise NotApplicable("no input has a dim of tokens")
    return next((each for each in found if each.outcome == "holds"), found[0])


def _observed(subject: Subject, layout: dict[int, tuple[int, ...]]) -> Observation | None:
    """Return what is seen once all tokens that go in are alike, where inputs are laid out so; None where none are."""
    changed = {
        name: alike(value, layout[value.dim()])
        for name, value in subject.tensors.items()
        if value.is_floating_point() and value.dim() in layout
    }
    if not changed:
        return None
    again = traced(subject.with_inputs(changed))
    names = ", ".join(changed)
    applied = [each for each in again.applied if _is_of_several(each)]
    worst = max(applied, key=_apart, default=None)
    if worst is None or worst.values is None or not bool(torch.isfinite(worst.values).all()):
        return None
    size = _apart(worst)
    if size <= _SLACK * rounding(worst.values):
        return Observation(NAME, "holds", f"from equal tokens of {names} came {worst.keys} equal values")
    words = f"all tokens of {names} are the same, but the {worst.keys} values that are weighed differ by {size:.3g}"
    return Observation(NAME, "violated", words, size)


def _is_of_several(applied: Applied) -> bool:
    return applied.values is not None and applied.keys > 1


def _apart(applied: Applied) -> float:
    """Return the distance between the values of one entry and feature that are farthest apart."""
    values = applied.values
    assert values is not None
    spread = values.amax(applied.along) - values.amin(applied.along)
    return float(spread.max()) if spread.numel() else 0.0
