"""The number that scores are scaled by: where it is written, and how the right one is."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.parsing import parse_expression
from mha_lint.syntax.nodes import dotted, is_number, is_starred

if TYPE_CHECKING:
    from mha_lint.model.scale import ScaleSeen
    from mha_lint.syntax.exact import Exact

_SPACED, _CLOSE = re.compile(r"\w \*\* "), re.compile(r"\w\*\*-?\w")


class Number(Struct, frozen=True):
    """An expression by which scores are multiplied (``exponent`` -0.5) or divided (0.5)."""

    node: ast.expr
    exponent: float


def number_of(seen: ScaleSeen, places: Exact) -> Number | None:
    """The number that scores were last scaled by, where it is written."""
    if seen.caller is not None:
        return _handed_on(seen.caller)
    return _operand(seen.scale.applied) or _augmented(seen.scale.applied, places)


def power(width: str, exponent: float, places: Exact) -> str:
    """``width ** -0.5`` as the file writes powers: with spaces around a plain name, or without."""
    base = parse_expression(width)
    if not isinstance(base, (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant)):
        return f"({width}) ** {exponent}"
    close = dotted(base) is not None and _writes_powers_close(places.text)
    return f"{width}**{exponent}" if close else f"{width} ** {exponent}"


@lru_cache(maxsize=2)
def _writes_powers_close(text: str) -> bool:
    """A file writes ``width**-0.5``, and nowhere ``width ** -0.5``."""
    return _CLOSE.search(text) is not None and _SPACED.search(text) is None


def _operand(applied: ast.AST | None) -> Number | None:
    """The number of the last scaling, on whichever side it stands."""
    match applied:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return Number(left if _is_scale(left) else right, -0.5)
        case ast.BinOp(op=ast.Div(), right=right):
            return Number(right, 0.5)
        case ast.Call(func=ast.Attribute(attr="mul" | "mul_" | "multiply")):
            return _last_argument(applied, -0.5)
        case ast.Call(func=ast.Attribute(attr="div" | "div_")):
            return _last_argument(applied, 0.5)
        case ast.Call(keywords=keywords):
            return next((Number(each.value, -0.5) for each in keywords if each.arg == "scale"), None)
    return None


def _last_argument(call: ast.Call, exponent: float) -> Number | None:
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return Number(arguments[-1], exponent) if arguments and not is_starred(call) else None


def _augmented(applied: ast.AST | None, places: Exact) -> Number | None:
    """The number of ``scores *= number``."""
    match places.statement(applied) if applied is not None else None:
        case ast.AugAssign(target=target, op=sign, value=value) if target is applied:
            return Number(value, 0.5 if isinstance(sign, ast.Div) else -0.5)
    return None


def _handed_on(call: ast.expr) -> Number | None:
    """The scale that is handed to the function which computes the attention."""
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return next((Number(each.value, -0.5) for each in keywords if each.arg is not None and "scal" in each.arg), None)


def _is_scale(node: ast.expr) -> bool:
    """An operand is rather the scale than what is scaled."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return "scal" in name.lower() or "norm" in name.lower()
        case ast.BinOp(op=ast.Pow() | ast.Div()):
            return True
        case _:
            return is_number(node)
