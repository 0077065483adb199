"""MHA105: name the keys' dimension in the softmax."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.unread import unread
from mha_lint.syntax.nodes import argument, is_starred

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit


def fix(hit: Hit[int | None], context: Context) -> Fix | str:
    """Replace the dimension that is written, or write one."""
    dim = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, ast.Call)
    if dim is None:
        return "the weights are summed along different dimensions"
    if is_starred(call):
        return "the dimension may be among the arguments that are handed over with a star"
    qualified = context.model.names.qualify(call.func) or ""
    at = 1 if qualified.startswith("torch.") and not qualified.endswith("Softmax") else 0
    written = argument(call, at, "dim", "axis")
    if written is None:
        edits = with_keyword(call, "dim", str(dim), places)
    else:
        edits = (places.replace(written, str(dim)), *unread(written, str(dim), context))
    return Fix("unsafe", "corrected", "Normalise over the keys", edits, probes=("constant value",))
