"""The arguments of a call with each float tensor in them changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mha_lint.validation.trials import drawing

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


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of an element
_MIXING = -7046029254386353131  # 2**64 divided by the golden ratio, which is odd: multiplied by it, bits are mixed


def nudged_alike(value: torch.Tensor, seed: int) -> torch.Tensor:
    """The same, where equal elements go the same way: which one their bits decide, and ``seed``."""
    bits = value.detach().view(_BITS[value.element_size()]).to(torch.int64)
    mixed = (bits + seed + 1) * _MIXING
    signs = torch.where((mixed >> 40) & 1 == 0, -1.0, 1.0).to(value.dtype)
    return value * (1 + torch.finfo(value.dtype).eps * signs)
