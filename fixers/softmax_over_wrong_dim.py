"""MHA105: name the keys' dimension in the softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.unread import unread

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit


def fix(hit: Hit, context: Context) -> Fix | str:
    """Replace the dimension that is written, or write one."""
    dim: int | None = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, cst.Call)
    if dim is None:
        return "the weights are summed along different dimensions"
    layer = (context.model.names.qualify(call.func) or "").endswith("Softmax")
    of_torch = (context.model.names.qualify(call.func) or "").startswith("torch.")
    keyword = next((arg for arg in call.args if arg.keyword is not None and arg.keyword.value in ("dim", "axis")), None)
    positional = [arg for arg in call.args if arg.keyword is None]
    at = 0 if layer or not of_torch else 1
    written = keyword or (positional[at] if len(positional) > at else None)
    if any(arg.star for arg in call.args):
        return "the dimension may be among the arguments that are handed over with a star"
    edits = with_keyword(call, "dim", str(dim), places)
    if written is not None:
        edits = (places.replace(written.value, str(dim)), *unread(written.value, str(dim), context))
    return Fix("unsafe", "corrected", "Normalise over the keys", edits, probes=("constant value",))
