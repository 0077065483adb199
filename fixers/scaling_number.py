"""The number that scores are scaled by: where it is written, and how the right one is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.model.names import dotted
from mha_lint.model.scale import ScaleSeen

if TYPE_CHECKING:
    from mha_lint.model.places import Places

_SPACED, _CLOSE = re.compile(r"\w \*\* "), re.compile(r"\w\*\*-?\w")


@dataclass(frozen=True, slots=True)
class Number:
    """An expression by which scores are multiplied (``exponent`` -0.5) or divided (0.5)."""

    node: cst.BaseExpression
    exponent: float


def number_of(seen: ScaleSeen, places: Places) -> Number | None:
    """The number that scores were last scaled by, where it is written."""
    if seen.caller is not None:
        return _handed_on(seen.caller)
    return _operand(seen.scale.applied) or _augmented(seen.scale.applied, places)


def power(width: str, exponent: float, places: Places) -> str:
    """``width ** -0.5`` as the file writes powers: with spaces around a plain name, or without."""
    base = cst.parse_expression(width)
    if not isinstance(base, (cst.Name, cst.Attribute, cst.Subscript, cst.Call, cst.Integer)):
        return f"({width}) ** {exponent}"
    close = dotted(base) is not None and _CLOSE.search(places.text) and not _SPACED.search(places.text)
    return f"{width}**{exponent}" if close else f"{width} ** {exponent}"


def _operand(applied: cst.CSTNode | None) -> Number | None:
    """The number of the last scaling, on whichever side it stands."""
    match applied:
        case cst.BinaryOperation(left=left, operator=cst.Multiply(), right=right):
            return Number(left if _is_number(left) else right, -0.5)
        case cst.BinaryOperation(operator=cst.Divide(), right=right):
            return Number(right, 0.5)
        case cst.Call(func=cst.Attribute(attr=cst.Name("mul" | "mul_" | "multiply")), args=[*_, cst.Arg(value=number)]):
            return Number(number, -0.5)
        case cst.Call(func=cst.Attribute(attr=cst.Name("div" | "div_")), args=[*_, cst.Arg(value=number)]):
            return Number(number, 0.5)
        case cst.Call(args=args):
            named = next((arg for arg in args if arg.keyword is not None and arg.keyword.value == "scale"), None)
            return None if named is None else Number(named.value, -0.5)
    return None


def _augmented(applied: cst.CSTNode | None, places: Places) -> Number | None:
    """The number of ``scores *= number``."""
    match places.statement(applied) if applied is not None else None:
        case cst.SimpleStatementLine(body=[cst.AugAssign(target=target, operator=sign, value=value)]) if (
            target is applied
        ):
            return Number(value, 0.5 if isinstance(sign, cst.DivideAssign) else -0.5)
    return None


def _handed_on(call: cst.BaseExpression) -> Number | None:
    """The scale that is handed to the function which computes the attention."""
    args = call.args if isinstance(call, cst.Call) else ()
    named = next((arg for arg in args if arg.keyword is not None and "scal" in arg.keyword.value), None)
    return None if named is None else Number(named.value, -0.5)


def _is_number(node: cst.BaseExpression) -> bool:
    """An operand is rather the scale than what is scaled."""
    match node:
        case cst.Float() | cst.Integer():
            return True
        case cst.Attribute(attr=cst.Name(name)) | cst.Name(name):
            return "scal" in name.lower() or "norm" in name.lower()
        case cst.BinaryOperation(operator=cst.Power() | cst.Divide()):
            return True
        case _:
            return False
