"""A look at the roots that a file takes: all may plainly be those of the width of a head, used as they should be."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator

from mha_lint.screen.widths import Widths, last_name

_MULTIPLYING = frozenset({"mul", "mul_", "multiply", "multiply_"})
_DIVIDING = frozenset({"div", "div_", "divide", "divide_", "true_divide", "true_divide_"})


def doubtful(tree: ast.Module) -> bool:
    """A root may be of anything else, or something may be multiplied by one that it should be divided by."""
    roots = {node: root for node in ast.walk(tree) if isinstance(node, ast.expr) and (root := _root(node)) is not None}
    if not roots:
        return False
    widths = Widths(tree)
    if any(isinstance(of, ast.Constant) or not widths.is_one(of) for _, of in roots.values()):
        return True
    if widths.may_be_others():
        return True
    inverse, upright = _holders(list(widths.bindings()))
    for multiplied, operand in _used(tree):
        root = _root(operand)
        if root is not None:
            if root[0] == multiplied:
                return True
        elif last_name(operand) in (upright if multiplied else inverse):
            return True
    return False


def _holders(bindings: Iterable[tuple[str, ast.expr | None]]) -> tuple[set[str], set[str]]:
    """The names that may hold the inverse of a root, and those that may hold a root, handed on from name to name."""
    inverse: set[str] = set()
    upright: set[str] = set()
    known = -1
    while known < len(inverse) + len(upright):
        known = len(inverse) + len(upright)
        for name, value in bindings:
            for part in _alternatives(value):
                root = _root(part)
                held = last_name(part)
                if (root is not None and not root[0]) or held in inverse:
                    inverse.add(name)
                if (root is not None and root[0]) or held in upright:
                    upright.add(name)
    return inverse - {""}, upright - {""}


def _alternatives(node: ast.expr | None) -> Iterator[ast.expr]:
    """What the value may be: ``scale or d ** -0.5`` is one of two."""
    match node:
        case None:
            return
        case ast.BoolOp(values=values):
            for value in values:
                yield from _alternatives(value)
        case ast.IfExp(body=body, orelse=orelse):
            yield from _alternatives(body)
            yield from _alternatives(orelse)
        case _:
            yield node


def _used(tree: ast.Module) -> Iterator[tuple[bool, ast.expr]]:
    """What something is multiplied by (True) or divided by."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                yield True, left
                yield True, right
            case ast.BinOp(left=ast.Constant(), op=ast.Div(), right=right):  # of a root written there, see _root
                if _root(right) is None:
                    yield from ((multiplied, right) for multiplied in (True, False))
            case ast.BinOp(op=ast.Div(), right=right):
                yield False, right
            case ast.AugAssign(op=ast.Mult() | ast.Div(), value=value):
                yield isinstance(node.op, ast.Mult), value
            case ast.keyword(arg="scale", value=value):
                yield True, value
            case ast.Call(func=ast.Attribute(attr=name), args=args) if name in _MULTIPLYING:
                yield from ((True, arg) for arg in args)
            case ast.Call(func=ast.Attribute(attr=name), args=[*_, divisor]) if name in _DIVIDING:
                yield False, divisor


def _root(node: ast.expr) -> tuple[bool, ast.expr] | None:
    """Of a square root, whether it is not inverted, and what it is of."""
    match node:
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent) if (power := _number(exponent)) in (0.5, -0.5):
            return power == 0.5, base
        case ast.Call(func=ast.Attribute(attr="sqrt" | "rsqrt" as name) | ast.Name(id="sqrt" | "rsqrt" as name)):
            return (name == "sqrt", node.args[0]) if node.args else (name == "sqrt", node.func)
        case ast.BinOp(left=ast.Constant(), op=ast.Div(), right=right) if (inner := _root(right)) is not None:
            return not inner[0], inner[1]
    return None


_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _number(node: ast.expr) -> float | None:
    """The number that an expression of literals is, such as ``-(1 / 2)``."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand) if (inner := _number(operand)) is not None:
            return -inner
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
            first, second = _number(left), _number(right)
            if first is not None and second is not None and (second or not isinstance(sign, ast.Div)):
                return _ARITHMETIC[type(sign)](first, second)
    return None
