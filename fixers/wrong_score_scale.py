"""MHA104: scale scores by the root of the width of a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.model.scale import ScaleSeen

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit

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
    if width is None:
        return "the width of a head has no name here"
    if seen.caller is not None:
        edit = _handed_on(seen.caller, width, places)
    else:
        edit = _unscaled(product, width, places) if applied is None else _scaled(applied, width, places)
    if edit is None:
        return _NO_PLACE
    message = f"Scale by the width of a head, `{width} ** -0.5`"
    return Fix("unsafe", "corrected", message, (edit,), probes=("unit score variance",))


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


def _unscaled(product: cst.CSTNode, width: str, places: Places) -> Edit | None:
    if not isinstance(product, cst.BaseExpression):
        return None
    text = f"{places.source(product)} * {width} ** -0.5"
    chained = isinstance(product, cst.Call) and isinstance(next(places.parents(product)), cst.Attribute)
    return places.replace(product, f"({text})" if chained else text)


def _scaled(applied: cst.CSTNode, width: str, places: Places) -> Edit | None:
    """Replace the number of the last scaling, on whichever side it stands."""
    match applied:
        case cst.BinaryOperation(left=left, operator=cst.Multiply(), right=right):
            number = left if _is_number(left) else right
            return places.replace(number, f"{width} ** -0.5")
        case cst.BinaryOperation(operator=cst.Divide(), right=right):
            return places.replace(right, f"{width} ** 0.5")
        case cst.Call(func=cst.Attribute(attr=cst.Name("mul" | "mul_" | "multiply")), args=[*_, cst.Arg(value=number)]):
            return places.replace(number, f"{width} ** -0.5")
        case cst.Call(func=cst.Attribute(attr=cst.Name("div" | "div_")), args=[*_, cst.Arg(value=number)]):
            return places.replace(number, f"{width} ** 0.5")
        case cst.Call(args=args):
            named = next((arg for arg in args if arg.keyword is not None and arg.keyword.value == "scale"), None)
            return None if named is None else places.replace(named.value, f"{width} ** -0.5")
    statement = places.statement(applied)
    match statement:
        case cst.SimpleStatementLine(body=[cst.AugAssign(target=target, operator=sign, value=value)]) if (
            target is applied
        ):
            power = "0.5" if isinstance(sign, cst.DivideAssign) else "-0.5"
            return places.replace(value, f"{width} ** {power}")
    return None


def _handed_on(call: cst.BaseExpression, width: str, places: Places) -> Edit | None:
    """The scale that is handed to the function which computes the attention."""
    args = call.args if isinstance(call, cst.Call) else ()
    named = next((arg for arg in args if arg.keyword is not None and "scal" in arg.keyword.value), None)
    return None if named is None else places.replace(named.value, f"{width} ** -0.5")


def _is_number(node: cst.BaseExpression) -> bool:
    """Whether an operand is rather the scale than what is scaled."""
    match node:
        case cst.Float() | cst.Integer():
            return True
        case cst.Attribute(attr=cst.Name(name)) | cst.Name(name):
            return "scal" in name.lower() or "norm" in name.lower()
        case cst.BinaryOperation(operator=cst.Power() | cst.Divide()):
            return True
        case _:
            return False
