"""Bound how far rounding may put two results apart: element by element, as much as the row of an element allows.

A row is what lies along the last dim: the features of one token, or the weights of one query. What is a sum of numbers
as large as those of its row is rounded as they are. A zero is no sum: it stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

# By how much farther than runs that are rounded otherwise a result may be: these are few. What they spread over more
# than a hundredth of its size has no digits, and may have long tails, as a division by a difference has.
_FARTHER, _FARTHER_WITHOUT_DIGITS = 4.0, 64.0
_WITHOUT_DIGITS = 1e-2


def largest(values: torch.Tensor) -> torch.Tensor:
    """The largest absolute value of each row, in the shape of rows of one element. NaN and infinity count as zero."""
    finite = values.detach().masked_fill(~values.isfinite(), 0.0).abs()
    if not finite.numel():
        return finite
    return finite.amax(-1, keepdim=True) if finite.dim() else finite


def whole(values: torch.Tensor) -> torch.Tensor:
    """The largest absolute value of the tensor."""
    return largest(values.reshape(-1))


def last_places(sizes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance between neighbouring numbers of ``dtype`` at each of the sizes, in float64."""
    limits = torch.finfo(dtype)
    return float(limits.eps) * torch.exp2(sizes.double().clamp(min=float(limits.tiny)).log2().floor())


def allowed(errors: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The largest error that a rewrite may have at each element, where the original has ``errors``.

    It is twice the error of the original and one unit in the last place. For each row, that error is the largest one
    in the row, or the one that the worst row has, as much smaller as the values of this row are.
    """
    sizes, own = largest(exact), largest(errors)
    relative = whole(own / sizes.clamp(min=float(torch.finfo(dtype).tiny)))
    typical = torch.minimum(relative * sizes, whole(own))
    return 2 * torch.maximum(own, typical) + last_places(sizes, dtype)


def allowed_of_sums(errors: torch.Tensor, size: float, dtype: torch.dtype) -> torch.Tensor:
    """The largest error that a rewrite may have anywhere in a tensor of sums, whose terms are as large as ``size``."""
    places = last_places(torch.tensor([size], device=errors.device), dtype)
    return 2 * whole(errors) + places


def distance(before: torch.Tensor, after: torch.Tensor) -> float:
    """The largest distance of two tensors of the same shape, where the first is finite."""
    wide = torch.complex128 if before.is_complex() else torch.float64
    apart = (before.detach().to(wide) - after.detach().to(wide)).abs().masked_fill(~before.isfinite(), 0.0)
    return float(apart.max()) if apart.numel() else 0.0


def allowed_by_chance(before: torch.Tensor, otherwise: Iterable[Any]) -> float:
    """The largest distance from a result whose digits are chance, as far as runs rounded ``otherwise`` show it.

    What is no finite tensor of its shape in such a run shows nothing.
    """
    tensors = [each for each in otherwise if isinstance(each, torch.Tensor) and each.shape == before.shape]
    distances = [distance(before, each) for each in tensors]
    farthest = max((each for each in distances if math.isfinite(each)), default=0.0)
    has_digits = farthest <= _WITHOUT_DIGITS * float(whole(before)) if before.numel() else True
    return farthest * (_FARTHER if has_digits else _FARTHER_WITHOUT_DIGITS)


def lost_zeros(before: torch.Tensor, after: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """The elements that are zero in the original, in its own dtype and in a wider one, and not in the rewrite."""
    return (before == 0) & (exact == 0) & (after != 0)
