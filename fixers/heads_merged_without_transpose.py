"""MHA101: transpose heads and tokens before the heads are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.model.hints import Hint, input_hints
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
    of_torch = is_of_torch(call, context)
    moves = _moves(scramble, written_sizes(call, of_torch=of_torch), places)
    if moves is None:
        return "the batch and the heads share a dimension, and can't be told apart in the code's own terms"
    message = "Transpose heads and tokens before merging the heads"
    if of_torch:
        tensor = _reshaped(call)
        if tensor is None:
            return "what is reshaped is not written as an argument of its own"
        chained = isinstance(tensor, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
        text = places.source(tensor) if chained else f"({places.source(tensor)})"
        edit = places.replace(tensor, f"{text}.{moves}")
    else:
        assert isinstance(call.func, cst.Attribute)
        edit = _before(call.func, moves, places)
    hints = hints_of(scramble, hit, context)
    return Fix("unsafe", "corrected", message, (edit,), hints=hints, probes=PROBES, agree="one token")


def hints_of(scramble: Scramble, hit: Hit, context: Context) -> tuple[tuple[str, Hint], ...]:
    """The shapes of the inputs where the tokens come first; none elsewhere, where what comes first is the batch."""
    if not scramble.time_first:
        return ()
    return tuple(input_hints(context.model, hit.symbol, tokens=scramble.tokens).items())


def _moves(scramble: Scramble, sizes: list[cst.BaseExpression] | None, places: Places) -> str | None:
    """The calls that bring the heads next to their features, and tokens and batch in the order of the result."""
    if scramble.time_first:  # merged to (t, b, h*d)
        folded_or_not: dict[tuple[bool, int], str] = {(True, 3): "transpose(0, 1)", (False, 4): "permute(2, 0, 1, 3)"}
        return folded_or_not.get((scramble.folded, scramble.rank))
    if not scramble.folded:
        swap: str = scramble.swap
        return swap
    if sizes is None or len(sizes) != 3 or isinstance(sizes[0], cst.UnaryOperation):
        return None  # the target does not write the batch size
    return f"unflatten(0, ({places.whole(sizes[0])}, -1)).transpose(1, 2)"


def _reshaped(call: cst.Call) -> cst.BaseExpression | None:
    """The tensor that a function of torch is given."""
    args = [arg for arg in call.args if arg.keyword is None or arg.keyword.value == "input"]
    return args[0].value if args and not args[0].star else None


def _before(method: cst.Attribute, moves: str, places: Places) -> Edit:
    match method.value:
        case cst.Call(func=cst.Attribute(attr=cst.Name("contiguous")) as copied, args=[]):
            return places.call_before(copied, moves)
    copies = ".contiguous()" if method.attr.value == "view" else ""
    return places.call_before(method, moves + copies)


def is_of_torch(call: cst.Call, context: Context) -> bool:
    """A call is ``torch.reshape(x, …)``, no method of a tensor."""
    return not isinstance(call.func, cst.Attribute) or (context.model.names.qualify(call.func) or "").startswith(
        "torch."
    )


def written_sizes(call: cst.Call, *, of_torch: bool) -> list[cst.BaseExpression] | None:
    """The sizes that a call views as, where they are written one by one; ``of_torch`` for ``torch.reshape(x, …)``."""
    args = list(call.args)
    if of_torch:
        shapes = [arg for arg in args if arg.keyword is not None and arg.keyword.value == "shape"]
        args = shapes or args[1:]
    if any(arg.star for arg in args):
        return None
    if len(args) != 1 or not isinstance(args[0].value, (cst.Tuple, cst.List)):
        return [arg.value for arg in args]
    elements = args[0].value.elements
    if any(isinstance(element, cst.StarredElement) for element in elements):
        return None
    return [element.value for element in elements]
