"""MHA101: transpose heads and tokens before the heads are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.model.order import Scramble

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit

PROBES = ("causality", "permutation equivariance", "equal tokens")


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit, before the method that merges, or before the ``.contiguous()`` in front of it."""
    scramble: Scramble | None = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, cst.Call)
    if scramble is None:
        return "the order of its dimensions differs between the paths through the code"
    moves = scramble.swap
    if scramble.folded:
        batch = _batch(call, places)
        if batch is None:
            return "the batch and the heads share a dimension, and can't be told apart in the code's own terms"
        moves = f"unflatten(0, ({batch}, -1)).transpose(1, 2)"
    message = "Transpose heads and tokens before merging the heads"
    if not isinstance(call.func, cst.Attribute) or (context.model.names.qualify(call.func) or "").startswith("torch."):
        tensor = call.args[0].value
        if not isinstance(tensor, (cst.Name, cst.Attribute, cst.Call, cst.Subscript)):
            return "what is reshaped is no name to transpose"
        edit = places.insert(places.end(tensor), f".{moves}")
    else:
        edit = _before(call.func, moves, places)
    return Fix("unsafe", "corrected", message, (edit,), probes=PROBES, agree="one token")


def _before(method: cst.Attribute, moves: str, places: Places) -> Edit:
    match method.value:
        case cst.Call(func=cst.Attribute(attr=cst.Name("contiguous")) as copied, args=[]):
            return places.call_before(copied, moves)
    copies = ".contiguous()" if method.attr.value == "view" else ""
    return places.call_before(method, moves + copies)


def _batch(call: cst.Call, places: Places) -> str | None:
    """The batch size as the target shape of the reshape writes it."""
    args: list[cst.BaseExpression] = [arg.value for arg in call.args]
    if len(args) == 1 and isinstance(args[0], (cst.Tuple, cst.List)):
        args = [element.value for element in args[0].elements]
    if len(args) != 3 or isinstance(args[0], cst.UnaryOperation):
        return None
    return places.source(args[0])
