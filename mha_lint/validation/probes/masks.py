"""Read a tensor as a mask: triangular, or a switch of zeros and ones."""

from __future__ import annotations

import torch

_SURE = 4  # tokens from which a triangle is no accident
_BLOCKED = -1e3  # what is added to scores to hide a key is below this


def is_triangular(value: object) -> bool:
    """Tell if ``value`` hides from each token either those after it or those before it: causal, in either polarity.

    A band of a triangle (a sliding window) counts. Only the first matrix of a batch is looked at.
    """
    if not isinstance(value, torch.Tensor) or value.dim() < 2 or value.is_complex():
        return False
    length = value.shape[-1]
    if length < _SURE or value.shape[-2] != length or value.numel() == 0:
        return False
    matrix = value[(0,) * (value.dim() - 2)]
    return any(_is_triangle(chosen) for chosen in _readings(matrix))


def _readings(matrix: torch.Tensor) -> list[torch.Tensor]:
    """Return what a mask may say: itself where it is boolean; hugely negative, or zero, where it is a number."""
    if matrix.dtype == torch.bool:
        return [matrix]
    if not matrix.is_floating_point():
        return [matrix == 0]
    return [matrix < _BLOCKED, matrix == 0] if is_switch(matrix) else [matrix < _BLOCKED]


def _is_triangle(chosen: torch.Tensor) -> bool:
    upper = torch.triu(torch.ones_like(chosen, dtype=torch.bool), 1)
    return any(_fills(chosen, one, other) for one, other in ((upper, upper.T), (upper.T, upper)))


def _fills(chosen: torch.Tensor, side: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether all of ``side`` is alike and what is next to the diagonal on the other side is not like it."""
    values = chosen[side]
    if bool(values.any()) != bool(values.all()):
        return False
    beside = chosen.diagonal(-1 if bool(side[0, -1]) else 1)
    unlike = beside != values[0]
    whole = chosen[other] != values[0]
    return bool(whole.all()) or (bool(unlike.all()) and chosen.shape[-1] > _SURE)


def is_switch(value: torch.Tensor) -> bool:
    """Tell whether it has zeros and ones and nothing else, both of them; booleans always."""
    if value.dtype == torch.bool:
        return True
    zeros, ones = value == 0, value == 1
    return bool((zeros | ones).all()) and bool(zeros.any()) and bool(ones.any())
