"""Read and draw masks that are inputs of a call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from msgspec import Struct

from mha_lint.validation.probes.sequence import redrawn

_HIDDEN = -1e4  # what is added to hide a key, where the mask itself does not show it
_BLOCKED = -1e3  # what hides a key is below this


def is_mask(name: str, value: torch.Tensor) -> bool:
    """Tell whether an input is a mask, by its name or because it is boolean."""
    return "mask" in name or (value.dtype == torch.bool and value.dim() > 1)


def mask_redrawn(value: torch.Tensor, dims: tuple[int, ...], at: Sequence[int], seed: int) -> torch.Tensor:
    """Return a mask of the same kind with other rows at these places of one dim: each hides some keys, not all."""
    levels = _levels(value)
    if levels is None:
        return redrawn(value, dims, at, seed)
    generator = torch.Generator().manual_seed(seed)
    (dim,) = dims
    index = torch.tensor(list(at), device=value.device)
    old = value.index_select(dim, index)
    chosen = torch.rand(old.shape, generator=generator) < 0.5
    if chosen.shape[-1] > 1:
        first = torch.randint(chosen.shape[-1], (), generator=generator)
        chosen[..., first] = True
        chosen[..., first - 1] = False
    low, high = (torch.tensor(level, dtype=value.dtype, device=value.device) for level in levels)
    new = torch.where(chosen.to(value.device), high, low)
    return value.index_copy(dim, index, new)


def _levels(value: torch.Tensor) -> tuple[float, float] | None:
    """Return the two values that a mask of this kind has; None where it is no mask of two values."""
    if value.dtype == torch.bool:
        return 0, 1
    if value.is_complex():
        return None
    if not value.is_floating_point():
        return (0, 1) if bool(((value == 0) | (value == 1)).all()) else None
    zeros = value == 0
    blocked = value < _BLOCKED
    if bool((zeros | blocked).all()):
        return (float(value.min()) if bool(blocked.any()) else _HIDDEN), 0.0
    return (0.0, 1.0) if bool((zeros | (value == 1)).all()) else None


class Reading(Struct, frozen=True):
    """What a mask may have for a key that is visible and for one that is hidden.

    With ``dtype``, the mask is taken for one of that kind, other than what was given; the module may refuse it.
    """

    visible: float
    hidden: float
    dtype: torch.dtype | None = None


def readings(value: torch.Tensor, added: torch.dtype | None) -> list[Reading]:
    """Return the readings of such a mask.

    With ``added``, one of true and false, or of ones and zeros, may have been drawn where one to be added, in that
    dtype, was meant.
    """
    either = [Reading(1.0, 0.0), Reading(0.0, 1.0)]
    if not value.is_floating_point():
        return [*either, Reading(0.0, _HIDDEN, added)] if added is not None else either
    blocked = value[value < _BLOCKED]
    hidden = float(blocked.min()) if blocked.numel() else _HIDDEN
    if bool((value == 1).any()) and bool(((value == 0) | (value == 1)).all()):
        return [*either, Reading(0.0, _HIDDEN, added)] if added is not None else either
    return [Reading(0.0, hidden), *either]
