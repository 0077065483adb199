"""What fills, masks and products may be of what rules about masks look for, as far as syntax and facets tell."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mha_lint.screen import facets as fc
from mha_lint.screen.facets import MARKED, SCORES, TRIANGULAR, WEIGHTS, Value

if TYPE_CHECKING:
    from mha_lint.screen.look import Look

MAX_DEPTH = 6  # names of names
HALF_MAX = 65504.0


def fill(look: Look, tensor: Value, mask: Value, values: Sequence[ast.expr | None]) -> None:
    """Scores, weights or others are filled with one of the values where a mask says so."""
    filled = fc.facets(tensor)
    if fc.facets(mask) & TRIANGULAR:
        look.suspect("polarity")
    for value in values:
        if value is None:
            continue
        if "half" in look.wanted and _may_be(look, value, lambda number: HALF_MAX < number < float("inf")):
            look.suspect("half")
        if "vain" in look.wanted and _may_be(look, value, lambda number: 0 < number <= 1e-3):
            look.suspect("vain")
        if filled & (SCORES | WEIGHTS) and _may_be(look, value, lambda number: number == 0):
            look.suspect("vain" if filled & SCORES else "late")
            if filled & WEIGHTS:
                look.suspect("late")


def product(look: Look, left: Value, right: Value) -> None:
    """Scores or weights may be multiplied by a mask."""
    first, second = fc.facets(left), fc.facets(right)
    for about, other in ((first, second), (second, first)):
        if other & MARKED:
            if about & SCORES:
                look.suspect("vain")
            if about & WEIGHTS:
                look.suspect("late")


def total(look: Look, left: Value, right: Value) -> None:
    """A mask may be added to scores."""
    first, second = fc.facets(left), fc.facets(right)
    if (first & SCORES and second & TRIANGULAR) or (second & SCORES and first & TRIANGULAR):
        look.suspect("polarity")


def attention(look: Look, *masks: Value) -> None:
    """A function or layer is given masks."""
    given = 0
    for mask in masks:
        given |= fc.all_facets(mask)
    if given & TRIANGULAR:
        look.suspect("polarity")
    if given & MARKED:
        look.suspect("number")


def _may_be(look: Look, node: ast.expr, test: Callable[[float], bool], depth: int = 0) -> bool:
    """Whether an expression may be a number whose absolute value passes the test."""
    if depth > MAX_DEPTH:
        return True

    def inner(*nodes: ast.expr) -> bool:
        return any(_may_be(look, each, test, depth + 1) for each in nodes)

    match node:
        case ast.Constant(value=int() | float() as number):
            return test(abs(float(number)))
        case ast.Constant(value=str(text)):
            try:
                return test(abs(float(text)))
            except ValueError:
                return False
        case ast.UnaryOp(operand=operand):
            return inner(operand)
        case ast.BinOp() | ast.BoolOp() | ast.Subscript() | ast.NamedExpr():
            return True
        case ast.IfExp(body=body, orelse=orelse):
            return inner(body, orelse)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return inner(*elements)
        case ast.Attribute(value=ast.Call(func=function), attr="min" | "max") if _last(function) in ("finfo", "iinfo"):
            return False
        case ast.Name(id=name) | ast.Attribute(attr=name):
            values = look.file.values_of(name)
            return values is None or inner(*values)
        case ast.Call(func=function, args=args, keywords=keywords):
            name = _last(function)
            if name in look.file.functions or name in look.file.methods:
                return True
            return inner(*args, *(keyword.value for keyword in keywords))
    return False


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
