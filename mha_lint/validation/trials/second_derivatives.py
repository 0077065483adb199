"""Gradients of gradients, and how far apart those of two calls are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mha_lint.validation.trials import rows, trial

_SECOND = 1e-3  # of the largest second derivative: they are differences of large terms


def derived(
    roots: Sequence[torch.Tensor | None], leaves: list[torch.Tensor], generator: torch.Generator, *, create_graph: bool
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of the roots, each weighted at random.

    In place of a root that is missing, a draw is made as well: the others get the same weights whether it is there.
    """
    present: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    for place, root in enumerate(roots):
        shape = leaves[place].shape if root is None else root.shape
        drawn = torch.randn(shape, generator=generator)
        if root is not None:
            present.append(root)
            weights.append(drawn.to(root.dtype))
    return trial.gradients(present, weights, leaves, create_graph=create_graph)


def far_apart(
    before: dict[str, torch.Tensor],
    after: dict[str, torch.Tensor],
    otherwise: Sequence[Mapping[str, torch.Tensor]] = (),
) -> str:
    """Describe how second derivatives differ beyond rounding. One that is missing is zero.

    ``otherwise`` holds those of before where it is rounded otherwise: what they show is chance.
    """
    size = max((float(rows.whole(value)) for value in before.values() if value.numel()), default=0.0)
    if not size or not all(bool(value.isfinite().all()) for value in before.values()):
        return ""
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name), after.get(name)
        distance = _distance(left, right)
        by_chance = 0.0 if left is None else rows.allowed_by_chance(left, [run.get(name) for run in otherwise])
        if not distance <= _SECOND * size + by_chance:
            return f"for {name} it differs by {distance:.3g}"
    return ""


def _distance(left: torch.Tensor | None, right: torch.Tensor | None) -> float:
    if left is None or right is None:
        value = left if left is not None else right
        return float(rows.whole(value)) if value is not None and value.numel() else 0.0
    return float((left - right).abs().max()) if left.numel() else 0.0
