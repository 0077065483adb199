"""MHA106: invert the mask where it is used."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.mask_polarity_inverted import Inverted
    from mha_lint.syntax.exact import Exact

_OPPOSITE: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: ">=",
    ast.LtE: ">",
    ast.Gt: "<=",
    ast.GtE: "<",
}
PROBES = ("causality",)
PROBES_OF_PADDING = ("masked key",)


def fix(hit: Hit[Inverted], context: Context) -> Fix | str:
    """One edit: the mask, inverted, or laid along the keys."""
    evidence = hit.evidence
    if evidence.elsewhere:
        return "the mask is used in another file, which says there what True means"
    if evidence.column is not None:
        return _laid_along_keys(evidence.column, context.places)
    if evidence.mask is None:
        return "the mask is not inverted there, but where it is made"
    if evidence.joined:
        return "the mask is joined with another one, and the code does not say what True means in that one"
    if not evidence.always:
        return "the mask is right on another path through the code"
    places = context.places
    content = inverted(evidence.mask, places, boolean=evidence.boolean)
    flagged = places.rows(places.statement(evidence.mask) or evidence.mask)
    edit = places.replace(evidence.mask, content)
    probes = PROBES_OF_PADDING if evidence.padding else PROBES
    return Fix("unsafe", "corrected", f"Invert the mask: `{content}`", (edit,), flagged, probes=probes)


def _laid_along_keys(column: ast.expr, places: Exact) -> Fix | str:
    """One edit: the new dimension stands before the tokens, not behind them."""
    match column:
        case ast.Call(func=ast.Attribute(attr="unsqueeze"), args=[*_, dim]):
            number = _number(dim)
            if number is None or number == 0:
                return "the dimension of `unsqueeze` is not written as a number"
            old: ast.expr = dim
            content = str(number - 1)
        case ast.Subscript(slice=ast.Tuple(elts=[*before, ast.Constant(value=None)]) as indices):
            whole = before.pop() if before and isinstance(before[-1], ast.Slice) else None
            old = indices
            kept = [places.source(each) for each in before]
            content = ", ".join([*kept, "None", ":" if whole is None else places.source(whole)])
        case _:
            return "the dimensions are not laid out there by `unsqueeze` or `None`"
    flagged = places.rows(places.statement(column) or column)
    summary = "Lay the padding along the keys"
    edit = places.replace(old, content)
    return Fix("unsafe", "corrected", summary, (edit,), flagged, probes=PROBES_OF_PADDING)


def _number(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
        case _:
            return None


def inverted(mask: ast.expr, places: Exact, *, boolean: bool) -> str:
    """The opposite of a mask, as short as it can be written."""
    match mask:
        case ast.UnaryOp(op=ast.Invert(), operand=inner):
            whole = places.whole(inner)
            return whole if "\n" in whole else places.source(inner)
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _OPPOSITE:
            return f"{places.whole(left)} {_OPPOSITE[type(sign)]} {places.whole(right)}"
    text = places.source(mask)
    plain = isinstance(mask, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    if not boolean:
        return f"{text} == 0" if plain else f"({text}) == 0"
    return f"~{text}" if plain else f"~({text})"
