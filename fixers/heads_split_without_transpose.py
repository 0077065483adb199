"""MHA102: split the heads off behind the tokens, then transpose."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.heads_merged_without_transpose import PROBES, hints_of, is_of_torch, written_sizes

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.order import Scramble
    from mha_lint.rules.base import Hit


def fix(hit: Hit[Scramble | None], context: Context) -> Fix | str:
    """Swap the sizes of heads and tokens in the call, and transpose what it gives."""
    scramble = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, ast.Call)
    if scramble is None:
        return "the order of its dimensions differs between the paths through the code"
    sizes = written_sizes(call, of_torch=is_of_torch(call, context))
    if sizes is None or len(sizes) < 3:
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
    if scramble.time_first:  # (t, b, h*d) is viewed as (t, b*h, d)
        if len(front) != 1:
            return "the batch and the heads are not written as one size"
        edits = (
            places.replace(front[0], places.source(tokens)),
            places.replace(tokens, places.source(front[0])),
            places.insert(after, ".transpose(0, 1)"),
        )
        hints = hints_of(scramble, hit, context)
        return Fix("unsafe", "corrected", "Split, then transpose", edits, hints=hints, probes=PROBES, agree="one token")
    match front:
        case [ast.BinOp(left=batch, op=ast.Mult(), right=apart) as both]:
            folded, length = places.source(both), places.source(tokens)
            edits = (
                places.replace(both, places.source(batch)),
                places.replace(tokens, f"{length}, {places.source(apart)}"),
                places.insert(after, f".transpose(1, 2).reshape({folded}, {length}, {places.source(sizes[-1])})"),
            )
            return Fix("unsafe", "corrected", "Split, then transpose", edits, probes=PROBES, agree="one token")
        case _:
            return "the batch and the heads share a dimension, and can't be told apart in the code's own terms"
