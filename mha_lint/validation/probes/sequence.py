"""Which dim of an input is that of tokens, or of the batch, and what changes in the output when tokens change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.probes.trace import Seen

_MOST = 16  # tokens that are changed, one after the other
_ORDER = {1: (0,), 2: (1, 0), 3: (1, 0, 2), 4: (2, 1, 3)}  # dims that may be those of tokens, the likeliest first


@dataclass(frozen=True, slots=True)
class Axis:
    """``dims`` say for each of the inputs which dim has the tokens; ``output`` which one of the output has them."""

    dims: dict[str, int]
    output: int
    length: int


def rounding(value: torch.Tensor) -> float:
    """Differences up to this may be rounding: 32 units in the last place of the largest finite magnitude."""
    finite = value[torch.isfinite(value)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return 32 * torch.finfo(value.dtype).eps * largest


def axes(subject: Subject, output: torch.Tensor, seen: Seen | None) -> list[Axis]:
    """Dims that may be those of the tokens, the likeliest first: inputs and output share the length.

    Where it was seen how many queries and keys there are, tokens are as many.
    """
    lengths = seen.lengths if seen is not None else frozenset()
    found: list[Axis] = []
    for name, value in subject.tensors.items():
        order = _ORDER.get(value.dim(), ())
        if value.dim() == 2 and value.is_floating_point():
            order = (0, 1)
        for dim in order:
            size = value.shape[dim]
            if size < 2 or (lengths and size not in lengths) or value.dtype == torch.bool:
                continue
            if not lengths and dim != order[0]:
                continue
            out = _matching(output, size, dim)
            if out is None:
                continue
            at = next((axis for axis in found if (axis.length, axis.output) == (size, out)), None)
            if at is None:
                found.append(Axis({name: dim}, out, size))
            else:
                at.dims.setdefault(name, dim)
    rank = {1: 0, 0: 1, 2: 2, 3: 3}
    return sorted(found, key=lambda axis: rank.get(min(axis.dims.values()), 4) if output.dim() < 4 else 0)


def _matching(output: torch.Tensor, size: int, dim: int) -> int | None:
    if dim < output.dim() and output.shape[dim] == size:
        return dim
    places = [at for at, length in enumerate(output.shape) if length == size]
    return places[0] if len(places) == 1 else None


def redrawn(value: torch.Tensor, dim: int, at: Sequence[int], seed: int) -> torch.Tensor:
    """``value`` with other values at these places of ``dim``: of the same spread, or other ones of its integers."""
    generator = torch.Generator().manual_seed(seed)
    changed = value.clone()
    index = torch.tensor(list(at), device=value.device)
    old = value.index_select(dim, index)
    if value.is_floating_point():
        wide = value.to(torch.float64)
        finite = wide[torch.isfinite(wide)]
        spread = float(finite.std()) if finite.numel() > 1 else 0.0
        mean = float(finite.mean()) if finite.numel() else 0.0
        drawn = torch.randn(old.shape, generator=generator, dtype=torch.float64) * (spread or 1.0) + mean
        new = drawn.to(value.device, value.dtype)
    elif value.dtype == torch.bool or value.is_complex():
        return changed
    else:
        known = torch.tensor(sorted(set(value.flatten().tolist())), dtype=value.dtype, device=value.device)
        if len(known) < 2:
            return changed
        steps = torch.randint(1, len(known), old.shape, generator=generator).to(value.device)
        new = known[(torch.searchsorted(known, old) + steps) % len(known)]
    return changed.index_copy_(dim, index, new)


def differences(one: torch.Tensor, other: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest difference at each place of ``dim``; infinite where only one of the two is NaN."""
    if one.shape != other.shape:
        raise NotApplicable(f"the output's shape depends on the values: {tuple(one.shape)} and {tuple(other.shape)}")
    wide = one.to(torch.float64), other.to(torch.float64)
    distance = (wide[0] - wide[1]).abs()
    same = (one == other) | (one.isnan() & other.isnan())
    distance = torch.where(same, torch.zeros_like(distance), distance)
    distance = torch.where(distance.isnan(), torch.full_like(distance, torch.inf), distance)
    return distance.movedim(dim, 0).reshape(one.shape[dim], -1).amax(1)


def influence(subject: Subject, axis: Axis, output: torch.Tensor, names: Sequence[str] = ()) -> dict[int, torch.Tensor]:
    """For each of up to 16 places: how much the output changes at every place when the inputs change at this one."""
    step = max(1, -(-axis.length // _MOST))
    places = sorted({*range(0, axis.length, step), axis.length - 1})
    found: dict[int, torch.Tensor] = {}
    for place in places:
        changed = {
            name: redrawn(subject.tensors[name], dim, [place], subject.seed + 7 * place + 1)
            for name, dim in axis.dims.items()
            if not names or name in names
        }
        found[place] = differences(output, subject.with_inputs(changed).run(), axis.output)
    return found


def mixes(effects: dict[int, torch.Tensor], tolerance: float) -> bool:
    """Whether a place has an influence on another one."""
    for place, effect in effects.items():
        others = effect.clone()
        others[place] = 0.0
        if bool((others > tolerance).any()):
            return True
    return False
