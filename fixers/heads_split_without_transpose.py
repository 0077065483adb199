"""MHA102: split the heads off behind the tokens, then transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix
from mha_lint.fixers.heads_merged_without_transpose import PROBES
from mha_lint.model.order import Scramble

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit


def fix(hit: Hit, context: Context) -> Fix | str:
    """Swap the sizes of heads and tokens in the call, and transpose what it gives."""
    scramble: Scramble | None = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, cst.Call)
    if scramble is None:
        return "the order of its dimensions differs between the paths through the code"
    sizes = _sizes(call, context)
    if len(sizes) < 3:
        return "the sizes are not written one by one"
    *front, tokens, _ = sizes
    after = places.end(call)
    if not scramble.folded:
        heads = front[-scramble.parts :]
        if len(front) <= scramble.parts:
            return "the heads are not written as a size of their own"
        moved = [tokens, *heads]  # the texts move, what stands between them stays
        edits = (
            *(places.replace(old, places.source(new)) for old, new in zip([*heads, tokens], moved, strict=True)),
            places.insert(after, f".{scramble.swap}"),
        )
        return Fix("unsafe", "corrected", "Split, then transpose", edits, probes=PROBES, agree="one token")
    if scramble.time_first:
        return "the tokens come first: view as (tokens, batch * heads, width), then `.transpose(0, 1)`"
    match front:
        case [cst.BinaryOperation(left=batch, operator=cst.Multiply(), right=apart) as both]:
            folded, length = places.source(both), places.source(tokens)
            edits = (
                places.replace(both, places.source(batch)),
                places.replace(tokens, f"{length}, {places.source(apart)}"),
                places.insert(after, f".transpose(1, 2).reshape({folded}, {length}, {places.source(sizes[-1])})"),
            )
            return Fix("unsafe", "corrected", "Split, then transpose", edits, probes=PROBES, agree="one token")
        case _:
            return "the batch and the heads share a dimension, and can't be told apart in the code's own terms"


def _sizes(call: cst.Call, context: Context) -> list[cst.BaseExpression]:
    args: list[cst.BaseExpression] = [arg.value for arg in call.args]
    if not isinstance(call.func, cst.Attribute) or (context.model.names.qualify(call.func) or "").startswith("torch."):
        args = args[1:]
    if len(args) == 1 and isinstance(args[0], (cst.Tuple, cst.List)):
        return [element.value for element in args[0].elements]
    return args
