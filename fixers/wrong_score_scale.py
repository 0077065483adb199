"""MHA104: scale scores by the root of the width of a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.scale_definition import may_be_given, mended_where_set
from mha_lint.fixers.scaling_number import Number, number_of, power
from mha_lint.fixers.unread import unread
from mha_lint.model.scale import ScaleSeen

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit

PROBES = ("unit score variance",)
_NO_PLACE = "the scale is applied in a way that this fixer does not rewrite"


def fix(hit: Hit, context: Context) -> Fix | str:
    """Replace what the scores are multiplied or divided by, or multiply their product."""
    seen: ScaleSeen = hit.evidence
    places: Places = context.places
    scale = seen.scale
    product, applied = scale.product, scale.applied
    assert product is not None and scale.width is not None
    names = [name for size, name in seen.names if size == scale.width]
    query = _query(product)
    if seen.caller is not None:  # local names are those of the function that is called
        names = [name for name in names if name.startswith("self.")]
        query = None if query is None else _handed_over(query, product, seen.caller, places)
    width = next(iter(names), None if query is None else f"{query}.shape[-1]")
    number = None if applied is None and seen.caller is None else number_of(seen, places)
    mended = None if number is None else mended_where_set(seen, number, width, context)
    if mended is not None:
        message = f"Scale by the width of a head: `{mended.name} = {mended.value}`"
        return Fix("unsafe", "corrected", message, mended.edits, probes=PROBES)
    if width is None:
        return "the width of a head has no name here"
    if number is not None and may_be_given(number.node, context):
        return "the scale may be handed to the constructor, whose own choice can't be told apart there"
    edits: tuple[Edit, ...] = ()
    if number is not None:
        edits = _mended_where_used(number, width, context)
    elif applied is None and seen.caller is None:
        edits = _unscaled(product, width, places)
    message = f"Scale by the width of a head, `{power(width, -0.5, places)}`"
    return Fix("unsafe", "corrected", message, edits, probes=PROBES) if edits else _NO_PLACE


def _mended_where_used(number: Number, width: str, context: Context) -> tuple[Edit, ...]:
    """The number replaced by the right one; what was computed for it alone goes."""
    right: str = power(width, number.exponent, context.places)
    return (context.places.replace(number.node, right), *unread(number.node, right, context))


def _query(product: cst.CSTNode) -> str | None:
    """The name of the queries, where the product is that of a name whose last dimension it sums over."""
    match product:
        case cst.BinaryOperation(left=cst.Name(name)):
            return name
        case cst.Call(func=cst.Attribute(attr=cst.Name("matmul" | "bmm")), args=[cst.Arg(value=cst.Name(name)), _]):
            return name
        case cst.Call(
            func=cst.Attribute(attr=cst.Name("einsum")) | cst.Name("einsum"),
            args=[cst.Arg(value=cst.SimpleString() as equation), cst.Arg(value=cst.Name(name)), _],
        ):
            sides, _, output = equation.raw_value.replace(" ", "").partition("->")
            left, _, right = sides.partition(",")
            return name if left[-1:] in right and left[-1:] not in output else None
        case _:
            return None


def _handed_over(name: str, product: cst.CSTNode, call: cst.BaseExpression, places: Places) -> str | None:
    """The name that a call gives for a parameter of the function which computes the product."""
    function = places.function(product)
    if function is None or not isinstance(call, cst.Call) or any(arg.star for arg in call.args[:-1]):
        return None
    parameters = [parameter.name.value for parameter in function.params.params]
    for index, arg in enumerate(call.args):
        keyword = parameters[index : index + 1] if arg.keyword is None and not arg.star else []
        if keyword == [name] or (arg.keyword is not None and arg.keyword.value == name):
            return arg.value.value if isinstance(arg.value, cst.Name) else None
    return None


def _unscaled(product: cst.CSTNode, width: str, places: Places) -> tuple[Edit, ...]:
    if not isinstance(product, cst.BaseExpression):
        return ()
    text = f"{places.source(product)} * {power(width, -0.5, places)}"
    binding = (cst.Attribute, cst.Subscript, cst.Call, cst.UnaryOperation)  # tighter than a product
    chained = isinstance(product, cst.Call) and isinstance(next(places.parents(product)), binding)
    return (places.replace(product, f"({text})" if chained else text),)
