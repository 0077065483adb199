"""Numbers in attention by hand: what scores are filled with, and what they are scaled by."""

from __future__ import annotations

import ast
from enum import Enum, auto

from mha_lint.syntax.nodes import Function, dotted, text_of, walk

LEAST = 1e4  # scores that are filled with less than minus this have weight 0
_MOST = 4  # names that stand for one another


class Value(Enum):
    """What scores are filled with, so that their weights are 0."""

    INFINITE = auto()
    FINITE = auto()


def masks_with(node: ast.expr, function: Function) -> Value | None:
    """Which value an expression is that masks the scores it fills; None where it is none, or is not known."""
    return _masks(node, function, _MOST)


def _masks(node: ast.expr, function: Function, left: int) -> Value | None:
    if left == 0:
        return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _size(node.operand)
    match node:
        case ast.Call(func=ast.Name(id="float"), args=[written]):
            text = (text_of(written) or "").strip().lower()
            return Value.INFINITE if text in ("-inf", "-infinity") else None
        case ast.Attribute(value=ast.Call(func=called), attr="min") if (dotted(called) or "").endswith("finfo"):
            return Value.FINITE
        case ast.Name(id=name):
            return _named(name, function, left)
        case ast.Call(func=called, args=[inner, *_]) if (dotted(called) or "").endswith(("tensor", "full")):
            return _masks(node.args[-1] if (dotted(called) or "").endswith("full") else inner, function, left - 1)
        case ast.Call(func=ast.Attribute(value=inner, attr="to" | "item")):
            return _masks(inner, function, left - 1)
        case _:
            return None


def _size(node: ast.expr) -> Value | None:
    """The value that a number has behind a minus."""
    match node:
        case ast.Constant(value=int(number) | float(number)) if number >= LEAST:
            return Value.INFINITE if number == float("inf") else Value.FINITE
        case ast.Call(func=ast.Name(id="float"), args=[written]):
            text = (text_of(written) or "").strip().lower()
            return Value.INFINITE if text in ("inf", "infinity") else None
        case ast.Attribute(value=ast.Call(func=called), attr="max") if (dotted(called) or "").endswith("finfo"):
            return Value.FINITE
        case ast.Attribute(attr="inf" | "Inf"):
            return Value.INFINITE
        case _:
            return None


def _named(name: str, function: Function, left: int) -> Value | None:
    """The value of a local name, which each of its assignments gives alike."""
    found: set[Value | None] = set()
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.add(_masks(value, function, left - 1))
            case ast.Name(id=target, ctx=ast.Store()) if target == name:
                continue
            case ast.arg(arg=target) if target == name:
                return None
    return found.pop() if len(found) == 1 else None
