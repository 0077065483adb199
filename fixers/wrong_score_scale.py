"""MHA104: scale scores by the root of the width of a head."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.scale_definition import may_be_given, mended_where_set
from mha_lint.fixers.scaled_twice import without_last
from mha_lint.fixers.scaling_number import Number, number_of, power
from mha_lint.fixers.unread import unread
from mha_lint.model.scale import is_scaled_twice
from mha_lint.syntax.nodes import argument, parameters

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.scale import ScaleSeen
    from mha_lint.rules.base import Hit
    from mha_lint.syntax.exact import Exact

PROBES = ("unit score variance",)
_NO_PLACE = "the scale is applied in a way that this fixer does not rewrite"


def fix(hit: Hit[ScaleSeen], context: Context) -> Fix | str:
    """Replace what the scores are multiplied or divided by, or multiply their product."""
    seen, places = hit.evidence, context.places
    scale = seen.scale
    product, applied = scale.product, scale.applied
    assert product is not None and scale.width is not None
    if is_scaled_twice(scale):
        dropped: Fix | str = without_last(seen, context)
        return dropped
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
    right = power(width, number.exponent, context.places)
    return (context.places.replace(number.node, right), *unread(number.node, right, context))


def _query(product: ast.AST) -> str | None:
    """The name of the queries, where the product is that of a name whose last dimension it sums over."""
    match product:
        case ast.BinOp(left=ast.Name(id=name)):
            return name
        case ast.Call(func=function):
            return _first_factor(function, [*product.args, *(keyword.value for keyword in product.keywords)])
        case _:
            return None


def _first_factor(function: ast.expr, arguments: list[ast.expr]) -> str | None:
    match function, arguments:
        case ast.Attribute(attr="matmul" | "bmm"), [ast.Name(id=name), _]:
            return name
        case (
            ast.Attribute(attr="einsum") | ast.Name(id="einsum"),
            [ast.Constant(value=str(equation)), ast.Name(id=name), _],
        ):
            sides, _, output = equation.replace(" ", "").partition("->")
            left, _, right = sides.partition(",")
            return name if left[-1:] in right and left[-1:] not in output else None
        case _:
            return None


def _handed_over(name: str, product: ast.AST, call: ast.expr, places: Exact) -> str | None:
    """The name that a call gives for a parameter of the function which computes the product."""
    function = places.function(product)
    if function is None or not isinstance(call, ast.Call):
        return None
    names = [parameter.arg for parameter in parameters(function)]
    index = names.index(name) if name in names else len(call.args)
    given = argument(call, index, name)
    return given.id if isinstance(given, ast.Name) else None


def _unscaled(product: ast.AST, width: str, places: Exact) -> tuple[Edit, ...]:
    if not isinstance(product, ast.expr):
        return ()
    text = f"{places.source(product)} * {power(width, -0.5, places)}"
    chained = isinstance(product, ast.Call) and _binds_tighter(places.parent(product), product)
    return (places.replace(product, f"({text})" if chained else text),)


def _binds_tighter(around: ast.AST, node: ast.expr) -> bool:
    """A node takes what is around it before a product would."""
    match around:
        case ast.Attribute(value=operand) | ast.Subscript(value=operand) | ast.Call(func=operand):
            return operand is node
        case ast.UnaryOp():
            return True
        case _:
            return False
