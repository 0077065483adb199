"""The arguments of a call with each float tensor in them changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mha_lint.validation.trials import drawing

_EQUAL = 8  # equal terms of a sum for each unit in the last place by which it may be off: measured, 35 to 100 terms
_MOST_SHIFTED = 16.0  # units
_COUNTED = 1 << 20  # elements of a tensor in which equal ones are counted: that sorts them

Change = Callable[[torch.Tensor], torch.Tensor]


def changed(inputs: drawing.Inputs, change: Change) -> drawing.Inputs:
    """The same inputs, with ``change`` applied to each float tensor. Gradients arrive at the same leaves."""
    arguments = {name: _changed(value, change) for name, value in inputs.arguments.items()}
    return drawing.Inputs(arguments, inputs.leaves, inputs.shapes)


def _changed(value: Any, change: Change) -> Any:
    match value:
        case torch.Tensor():
            return change(value) if value.is_floating_point() else value
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(_changed(item, change) for item in value)
        case dict() if type(value) is dict:
            return {name: _changed(item, change) for name, item in value.items()}
    return value


def nudged(value: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """The tensor, each element larger or smaller in size by one unit in the last place or two, as rounding has it.

    All of them larger would scale scores alike, and leave what nearly ties where it is. Without a generator, each call
    draws the same.
    """
    drawn = torch.rand(value.shape, generator=generator or torch.Generator().manual_seed(0)).to(value.device)
    signs = torch.where(drawn < 0.5, -1.0, 1.0).to(value.dtype)
    return value * (1 + torch.finfo(value.dtype).eps * signs)


def nudged_alike(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same, where equal elements go the same way, and the farther the more of them there are.

    The errors of a sum of equal terms add up, where those of other sums cancel: each step is rounded as the others are.
    """
    if value.numel() > _COUNTED:
        return nudged(value, generator)
    found, places, counts = torch.unique(value.detach(), return_inverse=True, return_counts=True)
    drawn = torch.rand(found.shape, generator=generator).to(value.device)
    signs = torch.where(drawn < 0.5, -1.0, 1.0)
    terms = counts.clamp(max=max(value.shape, default=1))  # a sum is over one dim, as a rule
    units = signs * (terms / _EQUAL).clamp(1.0, _MOST_SHIFTED)
    shifted: torch.Tensor = value * (1 + torch.finfo(value.dtype).eps * units[places].to(value.dtype))
    return shifted
