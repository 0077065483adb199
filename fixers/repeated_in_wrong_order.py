"""MHA118: repeat each row, where the whole was repeated; and the reverse."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.heads_merged_without_transpose import is_of_torch, written_sizes
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.values import Fold
    from mha_lint.rules.base import Hit

PROBES = ("batch independence", "masked key")


def fix(hit: Hit[Fold | None], context: Context) -> Fix | str:
    """One edit, from the name of the method to the end of the call."""
    fold, call, places = hit.evidence, hit.last, context.places
    assert isinstance(call, ast.Call)
    if fold is None:
        return "it is repeated otherwise on another path through the code"
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if is_of_torch(call, context) or method not in ("repeat", "tile", "repeat_interleave"):
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
    edit = places.replace(call, f"{places.source(call.func.value)}.{content}")
    return Fix("unsafe", "corrected", f"Write `{content}`", (edit,), probes=PROBES)


def _is_more(size: ast.expr) -> bool:
    return not (isinstance(size, ast.Constant) and size.value == 1)
