"""The text of queries, keys and values as fused attention takes them, and of what it gives."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.model.by_hand.steps import Context as Weighted
from mha_lint.model.by_hand.steps import Operand
from mha_lint.syntax.nodes import dotted

if TYPE_CHECKING:
    from mha_lint.syntax.exact import Exact

_TIGHT = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


def text_of_operand(operand: Operand, places: Exact, node: ast.expr | None = None) -> str:
    """An operand with its dimensions in the order (..., tokens, width); ``node`` stands for it, where it is another."""
    node = operand.node if node is None else node
    return (
        turned(bound(node, places), operand.order, swapped=operand.swapped)
        if _moves(operand)
        else argument_text(node, places)
    )


def text_of_context(call: str, context: Weighted) -> str:
    """The call of fused attention with the dimensions of its result in the order that the code gave them."""
    return turned(call, context.order, swapped=context.swapped)


def turned(text: str, order: tuple[int, ...] | None, *, swapped: bool) -> str:
    """An expression that binds tightly with its dimensions in another order."""
    if swapped:
        return f"{text}.transpose(-2, -1)"
    if order is None:
        return text
    moved = [dim for dim, source in enumerate(order) if dim != source]
    if len(moved) == 2:
        return f"{text}.transpose({moved[0]}, {moved[1]})"
    return f"{text}.permute({', '.join(map(str, order))})"


def bound(node: ast.expr, places: Exact) -> str:
    """An expression in front of a dot."""
    text = places.source(node)
    return text if isinstance(node, _TIGHT) else f"({text})"


def bound_text(text: str) -> str:
    """The text of an expression in front of a dot, or next to an operator."""
    tree = ast.parse(text, mode="eval").body
    return text if isinstance(tree, _TIGHT) else f"({text})"


def argument_text(node: ast.expr, places: Exact) -> str:
    """An expression among the arguments of a call."""
    text = places.source(node)
    return f"({text})" if isinstance(node, (ast.Tuple, ast.GeneratorExp, ast.NamedExpr)) else text


def is_plain(node: ast.expr) -> bool:
    """Tell whether an expression is a name, or an attribute of one, that may be read as often as it is needed."""
    return dotted(node) is not None


def _moves(operand: Operand) -> bool:
    return operand.swapped or operand.order is not None
