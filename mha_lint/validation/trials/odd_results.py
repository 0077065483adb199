"""Compare the results of two calls with odd inputs: what is not finite, and what has no elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from msgspec.structs import replace

from mha_lint.validation.child.imports import in_one_line
from mha_lint.validation.trials import trial
from mha_lint.validation.trials.odd_inputs import NOT_FINITE


def is_nowhere_a_number(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.numel() > 0 and bool(value.isnan().all())


def unlike(before: trial.Seen, after: trial.Seen) -> str:
    """The first difference of two calls, in words; "" where they agree to the last bit."""
    if after.error is not None:
        return f"raises {in_one_line(after.error)}"
    return trial.compare(before, after, frozenset()).difference


def with_empty_gradients(before: trial.Seen, after: trial.Seen) -> trial.Seen:
    """A run whose results have no elements, with zeros for each gradient that is zero before and missing in it."""
    if any(value.numel() for _, value in after.outputs if isinstance(value, torch.Tensor)):
        return after
    ours = dict(before.gradients)

    def filled(name: str, value: Any) -> Any:
        zero = ours.get(name)
        return zero if value is None and isinstance(zero, torch.Tensor) and not bool(zero.any()) else value

    return replace(after, gradients=[(name, filled(name, value)) for name, value in after.gradients])


def _tensors(before: trial.Seen, after: trial.Seen) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """The float outputs of both that have the same shape."""
    for (name, left), (_, right) in zip(before.outputs, after.outputs, strict=False):
        if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
            continue
        if left.shape == right.shape and left.is_floating_point() and right.is_floating_point():
            yield name, left.detach(), right.detach()


def swallowed(values: str, before: trial.Seen, after: trial.Seen) -> str:
    """Where NaN or infinity appears or vanishes, in words.

    NaN goes wherever before hands it on. Infinity may turn up as another value: a softmax over nothing but minus
    infinity is NaN in one kernel and zero in another. But it does not vanish altogether.
    """
    for name, left, right in _tensors(before, after):
        ours, theirs = left.isfinite(), right.isfinite()
        if values not in NOT_FINITE and bool((ours & ~theirs).any()):
            return f"{name} is not finite in after alone"
        if values == "nan" and bool((ours != theirs).any()):
            return f"{name} hands on NaN otherwise"
        if values == "inf" and bool((ours & ~theirs).any()):
            return f"{name} is not finite in after alone"
        if values == "inf" and bool(theirs.all()) and not bool(ours.all()):
            return f"{name} is finite in after alone, where an input is infinite"
    return ""


def where_finite(*runs: trial.Seen) -> list[trial.Seen]:
    """The runs, with zeros in the outputs of all where an element is not finite in one of them."""
    outputs: list[list[tuple[str, Any]]] = [list(each.outputs) for each in runs]
    for place, values in enumerate(zip(*outputs, strict=False)):
        tensors = [value for _, value in values if isinstance(value, torch.Tensor) and value.is_floating_point()]
        if len(tensors) < len(runs) or len({value.shape for value in tensors}) > 1:
            continue
        finite = torch.stack([value.detach().isfinite() for value in tensors]).all(0)
        if bool(finite.all()):
            continue
        for mine, (name, value) in zip(outputs, values, strict=True):
            mine[place] = name, value.masked_fill(~finite, 0.0)
    return [replace(each, outputs=mine) for each, mine in zip(runs, outputs, strict=True)]
