"""MHA118: repeat each row, where the whole was repeated; and the reverse."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Axes, Fix
from mha_lint.fixers.heads_merged_without_transpose import is_of_torch, written_sizes
from mha_lint.model.keys import Kind
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import OrderSeen
    from mha_lint.rules.base import Hit

PROBES = ("batch independence",)
_REPEATS = ("repeat", "tile", "repeat_interleave")


def fix(hit: Hit[OrderSeen | None], context: Context) -> Fix | str:
    """One edit, from the name of the method to the end of the call."""
    seen, call, places = hit.evidence, hit.last, context.places
    assert isinstance(call, ast.Call)
    if seen is None:
        return "it is repeated otherwise on another path through the code"
    fold = seen.fold
    method = call.func
    if is_of_torch(call, context) or not isinstance(method, ast.Attribute) or method.attr not in _REPEATS:
        return "it is not repeated by a method of its own"
    if fold.parts[0].alike:
        sizes = written_sizes(call, of_torch=False)
        at = None if sizes is None else len(sizes) + fold.dim
        if sizes is None or at is None or at < 0 or any(_is_more(size) for n, size in enumerate(sizes) if n != at):
            return "it is repeated along other dimensions, too, or the numbers are not written one by one"
        content = f"repeat_interleave({places.source(sizes[at])}, dim={at})"
    else:
        times, dim = argument(call, 0, "repeats"), argument(call, 1, "dim")
        if times is None or not isinstance(dim, ast.Constant) or dim.value != 0:
            return "it is not known how many dimensions there are"
        ones = ", 1" * (-fold.dim - 1)
        content = f"repeat({places.source(times)}{ones})"
    edit = places.replace(call, f"{places.source(method.value)}.{content}")
    return Fix("unsafe", "corrected", f"Write `{content}`", (edit,), probes=PROBES, axes=_entries(seen))


def _entries(seen: OrderSeen) -> tuple[Axes, ...]:
    """The dims of parameters that are told apart from the heads: what came with an input is the batch."""
    found: dict[str, Axes] = {}
    for part in (*seen.fold.parts, *seen.other.parts):
        key = None if part.size is None or part.alike else part.size.symbol
        if key is not None and key.kind is Kind.DIMENSION and key.owner is not None and key.owner.kind is Kind.NAME:
            found[key.owner.names[-1]] = Axes(key.owner.names[-1], batch=key.number)
    return tuple(found.values())


def _is_more(size: ast.expr) -> bool:
    return not (isinstance(size, ast.Constant) and size.value == 1)
