"""Which dims of an input are those of tokens, and what changes in the output when tokens change."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from msgspec import Struct

from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject

POSITIONS = re.compile(r"(^|_)(pos|positions?)(_|$)")  # in names of inputs
_MOST = 16  # tokens that are changed, one after the other
# Dims that may be those of the tokens, the likeliest first: of a sequence, (b, t, c), or with heads, (b, h, t, d);
# of an image, (b, c, H, W) or (b, H, W, c), whose rows follow each other.
_PLACES: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((0,),),
    2: ((1,), (0,)),
    3: ((1,), (0,), (2,)),
    4: ((2,), (1,), (2, 3), (1, 2)),
    5: ((2, 3, 4), (1, 2, 3)),
}


class Axis(Struct, frozen=True, eq=False):
    """``dims`` say for each of the inputs which adjacent dims have the tokens; ``output`` which ones of the output."""

    dims: dict[str, tuple[int, ...]]
    output: tuple[int, ...]
    length: int


def rounding(value: torch.Tensor) -> float:
    """Differences up to this may be rounding: 32 units in the last place of the largest finite magnitude.

    In float64 those of float32 count, in which many modules take the softmax, whatever they are given.
    """
    finite = value[torch.isfinite(value)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return 32 * max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps) * largest


def axes(subject: Subject, output: torch.Tensor, seen: Seen | None) -> list[Axis]:
    """Return the axes that may be the tokens, the likeliest first: inputs and output have as many of them.

    Where it was seen how many queries there are, what comes out are as many.
    """
    lengths: frozenset[int] = frozenset()
    if seen is not None:
        lengths = frozenset(each.queries for each in seen.applied) or seen.lengths
    found: list[tuple[int, Axis]] = []
    for name, value in subject.tensors.items():
        places = _PLACES.get(value.dim(), ())
        if value.dim() == 2 and value.is_floating_point():
            places = places[::-1]
        if value.dtype == torch.bool or value.is_complex():
            continue
        for rank, dims in enumerate(places if lengths else places[:1]):
            size = math.prod(value.shape[dim] for dim in dims)
            place = _matching(output, [value.shape[dim] for dim in dims], dims)
            if size < 2 or (lengths and size not in lengths) or place is None:
                continue
            alike = (axis for _, axis in found if (axis.length, axis.output) == (size, place) and name not in axis.dims)
            known = next(alike, None)
            if known is None:
                found.append((rank, Axis({name: dims}, place, size)))
            else:
                known.dims[name] = dims
    return [axis for _, axis in sorted(found, key=lambda item: item[0])]


def _matching(output: torch.Tensor, sizes: list[int], dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The dims of the output that have these sizes: the same ones, or the only ones; an image may be flat there."""
    if dims[-1] < output.dim() and [output.shape[dim] for dim in dims] == sizes:
        return dims
    runs = [tuple(range(at, at + len(sizes))) for at in range(output.dim() - len(sizes) + 1)]
    places = [run for run in runs if [output.shape[dim] for dim in run] == sizes]
    if not places and len(sizes) > 1:
        places = [(dim,) for dim in range(output.dim()) if output.shape[dim] == math.prod(sizes)]
    return places[0] if len(places) == 1 else None


def positions_in_sequence(subject: Subject) -> dict[str, torch.Tensor]:
    """Return positions that follow each other for the inputs that are positions, whatever was drawn for them."""
    changed: dict[str, torch.Tensor] = {}
    for name, value in subject.tensors.items():
        is_index = not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool
        if is_index and value.dim() in (1, 2) and POSITIONS.search(name):
            changed[name] = torch.arange(value.shape[-1], device=value.device).to(value.dtype).expand(value.shape)
    return changed


def flat(value: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """``value`` with these adjacent dims made one, at the place of the first."""
    return value.flatten(dims[0], dims[-1])


def alike(value: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """The first token in the place of each; of masks and indices, which tell tokens apart, nothing is changed."""
    if not value.is_floating_point():
        return value
    tokens = flat(value, dims)
    return tokens.narrow(dims[0], 0, 1).expand_as(tokens).reshape(value.shape)


def redrawn(value: torch.Tensor, dims: tuple[int, ...], at: Sequence[int], seed: int) -> torch.Tensor:
    """``value`` with other values at these places: of the same spread, or others of its own integers."""
    generator = torch.Generator().manual_seed(seed)
    changed, dim = flat(value, dims).clone(), dims[0]
    index = torch.tensor(list(at), device=value.device)
    old = changed.index_select(dim, index)
    if value.is_floating_point():
        wide = value.to(torch.float64)
        finite = wide[torch.isfinite(wide)]
        spread = float(finite.std()) if finite.numel() > 1 else 0.0
        mean = float(finite.mean()) if finite.numel() else 0.0
        drawn = torch.randn(old.shape, generator=generator, dtype=torch.float64) * (spread or 1.0) + mean
        new = drawn.to(value.device, value.dtype)
    else:
        known = torch.tensor(sorted(set(value.flatten().tolist())), dtype=value.dtype, device=value.device)
        if len(known) < 2:
            return value
        steps = torch.randint(1, len(known), old.shape, generator=generator).to(value.device)
        new = known[(torch.searchsorted(known, old) + steps) % len(known)]
    return changed.index_copy_(dim, index, new).reshape(value.shape)


def differences(one: torch.Tensor, other: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """The largest difference at each place of these dims; infinite where only one of the two is NaN."""
    if one.shape != other.shape:
        raise NotApplicable(f"the output's shape depends on the values: {tuple(one.shape)} and {tuple(other.shape)}")
    distance = (one.to(torch.float64) - other.to(torch.float64)).abs()
    same = (one == other) | (one.isnan() & other.isnan())
    distance = torch.where(same, torch.zeros_like(distance), distance)
    distance = torch.where(distance.isnan(), torch.full_like(distance, torch.inf), distance)
    by_place = flat(distance, dims).movedim(dims[0], 0)
    return by_place.reshape(by_place.shape[0], -1).amax(1)


def influence(subject: Subject, axis: Axis, output: torch.Tensor) -> dict[int, torch.Tensor]:
    """For each of up to 16 places: how much the output changes at every place when the inputs change at this one."""
    step = max(1, -(-axis.length // _MOST))
    found: dict[int, torch.Tensor] = {}
    for place in sorted({*range(0, axis.length, step), axis.length - 1}):
        changed = {
            name: redrawn(subject.tensors[name], dims, [place], subject.seed + 7 * place + 31 * count + 1)
            for count, (name, dims) in enumerate(axis.dims.items())
        }
        found[place] = differences(output, subject.with_inputs(changed).run(), axis.output)
    return found


def mixes(effects: dict[int, torch.Tensor], tolerance: float) -> bool:
    """Tell whether a place has an influence on another one."""
    for place, effect in effects.items():
        others = effect.clone()
        others[place] = 0.0
        if bool((others > tolerance).any()):
            return True
    return False
