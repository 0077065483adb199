"""MHA101: transpose heads and tokens before the heads are merged."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.model.hints import Hint, input_hints
from mha_lint.syntax.nodes import argument, is_starred

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.order import Scramble
    from mha_lint.rules.base import Hit
    from mha_lint.syntax.exact import Exact

PROBES = ("causality", "permutation equivariance", "equal tokens")


def fix(hit: Hit[Scramble | None], context: Context) -> Fix | str:
    """One edit, before the method that merges, or before the ``.contiguous()`` in front of it."""
    scramble = hit.evidence
    places, call = context.places, hit.last
    assert isinstance(call, ast.Call)
    if scramble is None:
        return "the order of its dimensions differs between the paths through the code"
    of_torch = is_of_torch(call, context)
    moves = _moves(scramble, written_sizes(call, of_torch=of_torch), places)
    if moves is None:
        return "the batch and the heads share a dimension, and can't be told apart in the code's own terms"
    message = "Transpose heads and tokens before merging the heads"
    edit = moved_before(call, moves, context)
    if edit is None:
        return "what is reshaped is not written as an argument of its own"
    hints = hints_of(scramble, hit, context)
    return Fix("unsafe", "corrected", message, (edit,), hints=hints, probes=PROBES, agree="one token")


def moved_before(call: ast.Call, moves: str, context: Context) -> Edit | None:
    """The edit that applies ``moves`` to what a call views; None where that is no argument of its own."""
    places = context.places
    if not is_of_torch(call, context):
        assert isinstance(call.func, ast.Attribute)
        return _before(call.func, moves, places)
    tensor = argument(call, 0, "input")
    if tensor is None:
        return None
    chained = isinstance(tensor, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    text = places.source(tensor) if chained else f"({places.source(tensor)})"
    edit: Edit = places.replace(tensor, f"{text}.{moves}")
    return edit


def hints_of(scramble: Scramble, hit: Hit[Scramble | None], context: Context) -> tuple[tuple[str, Hint], ...]:
    """The shapes of the inputs where the tokens come first; none elsewhere, where what comes first is the batch."""
    if not scramble.time_first:
        return ()
    return tuple(input_hints(context.model, hit.symbol, tokens=scramble.tokens).items())


def _moves(scramble: Scramble, sizes: list[ast.expr] | None, places: Exact) -> str | None:
    """The calls that bring the heads next to their features, and tokens and batch in the order of the result."""
    if scramble.time_first:  # merged to (t, b, h*d)
        folded_or_not: dict[tuple[bool, int], str] = {(True, 3): "transpose(0, 1)", (False, 4): "permute(2, 0, 1, 3)"}
        return folded_or_not.get((scramble.folded, scramble.rank))
    if not scramble.folded:
        return scramble.swap
    if sizes is None or len(sizes) != 3 or isinstance(sizes[0], ast.UnaryOp):
        return None  # the target does not write the batch size
    return f"unflatten(0, ({places.whole(sizes[0])}, -1)).transpose(1, 2)"


def _before(method: ast.Attribute, moves: str, places: Exact) -> Edit:
    match method.value:
        case ast.Call(func=ast.Attribute(attr="contiguous") as copied, args=[], keywords=[]):
            return places.call_before(copied, moves)
    copies = ".contiguous()" if method.attr == "view" else ""
    return places.call_before(method, moves + copies)


def is_of_torch(call: ast.Call, context: Context) -> bool:
    """A call is ``torch.reshape(x, …)``, no method of a tensor."""
    qualified = context.model.names.qualify(call.func) or ""
    return not isinstance(call.func, ast.Attribute) or qualified.startswith("torch.")


def written_sizes(call: ast.Call, *, of_torch: bool) -> list[ast.expr] | None:
    """The sizes that a call views as, where they are written one by one; ``of_torch`` for ``torch.reshape(x, …)``."""
    if is_starred(call):
        return None
    sizes = [*call.args, *(keyword.value for keyword in call.keywords)]
    if of_torch:
        shape = [keyword.value for keyword in call.keywords if keyword.arg == "shape"]
        sizes = shape or sizes[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (ast.Tuple, ast.List)):
        sizes = sizes[0].elts
    return None if any(isinstance(size, ast.Starred) for size in sizes) else sizes
