"""Whether a file may scale by the root of something else than the width of a head, told by names.

Known to be lost: a width that is called that of a head and is none.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

_WIDTH_OF_HEAD = re.compile(
    r"(?<!all_)head_?(?:dim|size|width|ch|feat)|dim_?(?:per_)?head|per_(?:attention_)?head|(?:^|_)d_?(?:k|head|h|qk)$|key_dim|^hd$",
    re.IGNORECASE,
)


def doubtful(tree: ast.Module) -> bool:
    """Whether a root is taken of anything else, or something multiplied by one that it should be divided by."""
    signs: dict[str, set[bool]] = {}  # name → whether it holds a root (True) or the inverse of one
    used: list[tuple[bool, ast.expr]] = []  # what something is multiplied by (True) or divided by
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name() | ast.Attribute() as target], value=value):
                if (root := _root(value)) is not None:
                    signs.setdefault(_name(target), set()).add(root[0])
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                used += [(True, left), (True, right)]
            case ast.BinOp(left=left, op=ast.Div(), right=right) if not isinstance(left, ast.Constant):
                used.append((False, right))
            case ast.AugAssign(op=ast.Mult() | ast.Div(), value=value):
                used.append((isinstance(node.op, ast.Mult), value))
        if isinstance(node, ast.expr) and (root := _root(node)) is not None and not _of_head(root[1]):
            return True
    for multiplied, operand in used:
        root = _root(operand)
        held = signs.get(_name(operand), set()) if root is None else {root[0]}
        if multiplied in held:
            return True
    return False


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


def _of_head(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _WIDTH_OF_HEAD.search(name) is not None
        case ast.Subscript(slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))):
            return True  # q.shape[-1]
        case ast.Call(args=[ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))]):
            return True  # q.size(-1)
        case ast.Call(args=[inner]):
            return _of_head(inner)  # float(head_dim), torch.tensor(head_dim)
        case _:
            return False


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
