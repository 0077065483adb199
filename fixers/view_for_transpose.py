"""MHA121: move the dimensions before the view, or view them in the order that they have, and move them afterwards."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.heads_merged_without_transpose import is_of_torch, moved_before, written_sizes

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.order import Crossing
    from mha_lint.rules.base import Hit

PROBES = ("permutation equivariance", "equal tokens", "equal values", "batch independence", "causality")
AGREE = "one token of all heads"  # one head has tokens and features all the same


def fix(hit: Hit[Crossing | None], context: Context) -> Fix | str:
    """One edit before the view; or its sizes in another order, and one edit behind it."""
    crossing, call = hit.evidence, hit.last
    assert isinstance(call, ast.Call)
    if crossing is None:
        return "the order of its dimensions differs between the paths through the code"
    if crossing.moved is not None and not (crossing.kept is not None and _is_longer(crossing.moved, crossing.kept)):
        edit = moved_before(call, _move(crossing.moved), context)
        if edit is None:
            return "what is reshaped is not written as an argument of its own"
        return Fix("unsafe", "corrected", "Transpose before the view", (edit,), probes=PROBES, agree=AGREE)
    if crossing.kept is None:
        return "a dimension holds parts of both, and can't be taken apart in the code's own terms"
    sizes, places = written_sizes(call, of_torch=is_of_torch(call, context)), context.places
    if sizes is None or len(sizes) != len(crossing.kept):
        return "the sizes are not written one by one"
    changed = [(old, sizes[at]) for old, at in zip(sizes, crossing.kept, strict=True) if old is not sizes[at]]
    edits = [places.replace(old, places.source(new)) for old, new in changed]
    back = tuple(crossing.kept.index(dim) for dim in range(len(sizes)))
    edits.append(places.insert(places.end(call), f".{_move(back)}"))
    return Fix("unsafe", "corrected", "View, then transpose", tuple(edits), probes=PROBES, agree=AGREE)


def _is_longer(moved: tuple[int, ...], kept: tuple[int, ...]) -> bool:
    """A permute of an image is longer than a view as (b, c, h * w) and a transpose."""
    return len(moved) > len(kept)


def _move(order: tuple[int, ...]) -> str:
    """The call that brings dimensions in an order: a transpose where two change places, else a permute."""
    apart = [dim for dim, old in enumerate(order) if dim != old]
    if len(apart) == 2:
        return f"transpose({apart[0]}, {apart[1]})"
    return f"permute({', '.join(map(str, order))})"
