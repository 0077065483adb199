"""Bound how far rounding may put two results apart: element by element, as much as the row of an element allows.

A row is what lies along the last dim: the features of one token, or the weights of one query. What is a sum of numbers
as large as those of its row is rounded as they are. A zero is no sum: it stays zero.
"""

from __future__ import annotations

import torch


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


def lost_zeros(before: torch.Tensor, after: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """The elements that are zero in the original, in its own dtype and in a wider one, and not in the rewrite."""
    return (before == 0) & (exact == 0) & (after != 0)
