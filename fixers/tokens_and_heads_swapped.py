"""MHA115: transpose tokens and heads on the way into attention, and back."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.syntax.nodes import argument, is_starred

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.tokens_and_heads_swapped import Swapped
    from mha_lint.syntax.exact import Exact

PROBES = ("tokens meet",)
_TAKEN = (("query", "q"), ("key", "k"), ("value", "v"))
_TURN = ".transpose(1, 2)"


def fix(hit: Hit[Swapped], context: Context) -> Fix | str:
    """Three edits of the arguments, and one behind the call."""
    call, places = hit.evidence.node, context.places
    if not hit.evidence.fused or not isinstance(call, ast.Call) or is_starred(call):
        return "the products are written by hand: transpose queries, keys and values before them, and the result back"
    edits: list[Edit] = []
    for index, names in enumerate(_TAKEN, start=hit.evidence.at):
        given = next((found for name in names if (found := argument(call, index, name)) is not None), None)
        if given is None:
            return "queries, keys and values are not given one by one"
        edits.append(_turned(given, places))
    probes: tuple[str, ...] = PROBES
    if not hit.evidence.at and _is_turned_later(hit, context):
        probes = (*PROBES, "permutation equivariance", "equal tokens")  # tokens meet there, as heads of each other
    elif not hit.evidence.at:  # else the function turns the result itself
        back = _TURN + (".contiguous()" if _is_viewed(hit, context) else "")
        edits.append(places.insert(places.end(call), back))
    flagged = places.rows(places.statement(call) or call)
    message = "Transpose tokens and heads of queries, keys and values, and of the result"
    return Fix("unsafe", "corrected", message, tuple(edits), flagged, probes=probes)


def _turned(given: ast.expr, places: Exact) -> Edit:
    chained = isinstance(given, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    if chained:
        return places.insert(places.end_of_whole(given), _TURN)
    return places.replace(given, f"({places.source(given)}){_TURN}")


def _merges(hit: Hit[Swapped], context: Context) -> list[tuple[ast.expr, bool]]:
    """The views of a context in the same function, and whether its heads come before its tokens there."""
    found = []
    for node, seen in context.model.views.items():
        for view in seen:
            shape = view.tensor.shape
            if view.symbol != hit.symbol or "context" not in view.tensor.roles or shape is None or len(shape) != 4:
                continue
            attention = context.model.axes.attention.get(hit.evidence.node, [])
            middles = {each.query for each in attention}
            found.append((node, (shape[1], shape[2]) not in middles and (shape[2], shape[1]) in middles))
    return found


def _is_turned_later(hit: Hit[Swapped], context: Context) -> bool:
    """Return True where the code transposes the result itself, as if its queries had been right."""
    found = _merges(hit, context)
    return bool(found) and all(turned for _, turned in found)


def _is_viewed(hit: Hit[Swapped], context: Context) -> bool:
    """Return True where the result is viewed as it comes, which a transposed one can't be."""
    return any(node not in context.model.reshapes for node, turned in _merges(hit, context) if not turned)
