"""MHA115: transpose tokens and heads on the way into attention, and back."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.products import Written, is_by_letters, operands
from mha_lint.syntax.nodes import argument, is_starred

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.axes import HeadsSeen
    from mha_lint.rules.base import Hit
    from mha_lint.rules.tokens_and_heads_swapped import Swapped
    from mha_lint.syntax.exact import Exact

PROBES = ("tokens meet",)
_TAKEN = (("query", "q"), ("key", "k"), ("value", "v"))
_TURN = ".transpose(1, 2)"
_TURN_OF_COLUMNS = ".transpose(1, 3)"  # of (b, t, d, h)
_MESSAGE = "Transpose tokens and heads of queries, keys and values, and of the result"
_NOT_GIVEN = "queries, keys and values are not given one by one"


def fix(hit: Hit[Swapped], context: Context) -> Fix | str:
    """Three edits of the arguments, and one behind the call."""
    call, places = hit.evidence.node, context.places
    if not hit.evidence.fused:
        return _by_hand(hit, context)
    if not isinstance(call, ast.Call) or is_starred(call):
        return _NOT_GIVEN
    edits: list[Edit] = []
    for index, names in enumerate(_TAKEN, start=hit.evidence.at):
        given = next((found for name in names if (found := argument(call, index, name)) is not None), None)
        if given is None:
            return _NOT_GIVEN
        edits.append(_turned(given, places))
    probes: tuple[str, ...] = PROBES
    if not hit.evidence.at and _is_turned_later(hit, context):
        probes = (*PROBES, "permutation equivariance", "equal tokens")  # tokens meet there, as heads of each other
    elif not hit.evidence.at:  # else the function turns the result itself
        back = _TURN + (".contiguous()" if _is_viewed(hit, context) else "")
        edits.append(places.insert(places.end(call), back))
    flagged = places.rows(places.statement(call) or call)
    return Fix("unsafe", "corrected", _MESSAGE, tuple(edits), flagged, probes=probes)


def _by_hand(hit: Hit[Swapped], context: Context) -> Fix | str:
    """Write behind queries, keys and values that they are transposed, and behind the product that takes the values."""
    places = context.places
    weighing = _weighing(hit, context)
    taken = operands(hit.evidence.node, context.model.names)
    if weighing is None or taken is None:
        return "it is not known which product takes the values: transpose queries, keys and values, and the result back"
    product, values = weighing
    given = operands(product, context.model.names)
    if given is None:
        return _NOT_GIVEN
    query, key = taken
    written = Written(places)
    written.behind(query, _TURN)
    _turn_keys(key, written, by_letters=is_by_letters(hit.evidence.node))
    written.behind(given[values], _TURN)
    probes: tuple[str, ...] = PROBES
    if _is_turned_later(hit, context):
        probes = (*PROBES, "permutation equivariance", "equal tokens")
    else:
        written.behind(product, _TURN + (".contiguous()" if _is_viewed(hit, context) else ""))
    flagged = (*places.rows(hit.evidence.node), *places.rows(product))
    return Fix("unsafe", "corrected", _MESSAGE, written.edits(), flagged, probes=probes)


def _turn_keys(key: ast.expr, written: Written, *, by_letters: bool) -> None:
    """Transpose tokens and heads of keys; for a product, the code has turned tokens and widths already."""
    match key:
        case _ if by_letters:
            written.behind(key, _TURN)
        case ast.Call(func=ast.Attribute(value=tensor, attr="transpose" | "swapaxes" | "swapdims"), args=[_, _]):
            written.behind(tensor, _TURN)
        case ast.Attribute(value=tensor, attr="mT"):
            written.behind(tensor, _TURN)
        case _:
            written.behind(key, _TURN_OF_COLUMNS)


def _weighing(hit: Hit[Swapped], context: Context) -> tuple[ast.expr, int] | None:
    """The product of the weights that come of these scores and the values, and the place of the values in it.

    The products of a function belong together in their order, where there are as many of both.
    """
    model, places = context.model, context.places
    scores = [node for node, seen in model.axes.attention.items() if any(_is_here(each, hit) for each in seen)]
    found: dict[ast.expr, int] = {}
    for node, ways in model.axes.contexts.items():
        values = {place for place, symbol in ways if symbol == hit.symbol}
        if len(values) == 1:
            found[node] = values.pop()
    if len(scores) != len(found):
        return None
    scores.sort(key=places.end)
    pairs = dict(zip(scores, sorted(found, key=places.end), strict=True))
    product = pairs[hit.evidence.node]
    if places.end(product) < places.end(hit.evidence.node):
        return None
    return product, found[product]


def _is_here(seen: HeadsSeen, hit: Hit[Swapped]) -> bool:
    return not seen.fused and seen.symbol == hit.symbol


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
