"""What the names in a mask, and the code that makes it, tell of it: whether it is one, and whether it hides keys."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mha_lint.model.masks import mask_of
from mha_lint.model.run import Run
from mha_lint.model.values import Tensor, Unknown, Value
from mha_lint.syntax.nodes import argument, children
from mha_lint.syntax.words import name_of
from mha_lint.vocabulary import MASKS, OF_ROWS, SOFT_MASKS, is_said


def is_called_mask(value: Value, written: ast.expr | None, run: Run) -> bool:
    """Tell whether what weights are multiplied by comes from something named as a mask, not as a soft one."""
    key = value.key if isinstance(value, (Tensor, Unknown)) else None
    node = written if key is None or run.node(key) is None else run.node(key)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):  # ``1 - mask``
        node = node.right
    while isinstance(node, (ast.Call, ast.Subscript)):
        of = node.func if isinstance(node, ast.Call) else node
        if not isinstance(of, (ast.Attribute, ast.Subscript)):
            return False
        node = of.value
    name = name_of(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
    name = name if node is not None or key is None else key.last_name
    return is_said(MASKS, name) and not is_said(SOFT_MASKS, name)


def marks_keys(where: Value | None, written: ast.expr | None, run: Run, *, columns: bool = False) -> bool:
    """Tell whether a mask may tell keys apart: not if it is of whole rows, of random numbers, or of the weights.

    ``columns`` says that a column holds keys, as learned scores (b, s, 1) do, which belong to no queries.
    """
    mask = mask_of(where, run)
    if mask is not None and mask.diagonal is not None:
        return True
    if (isinstance(where, Tensor) and where.roles) or (mask is not None and mask.random):
        return False
    key = where.key if isinstance(where, (Tensor, Unknown)) else None
    if key is not None and key.says(OF_ROWS):
        return False
    made = None if key is None else run.node(key)
    code = [node for node in (made, written) if node is not None]
    return not any(_is_of_rows(node) or (_is_column(node) and not columns) for node in _worth_reading(code))


def _worth_reading(code: list[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a mask as it is written, but for what is only asked how large it is: ``query.shape``."""
    pending = list(code)
    while pending:
        node = pending.pop()
        yield node
        sized = isinstance(node, ast.Attribute) and node.attr in ("shape", "size")
        pending += [] if sized else children(node)


def _is_of_rows(node: ast.AST) -> bool:
    """An expression is about whole rows: by its names, or because it asks something of each."""
    match node:
        case ast.Call(func=ast.Attribute(attr="all" | "any")):
            return True
        case _:
            return is_said(OF_ROWS, name_of(node))


def _is_column(node: ast.AST) -> bool:
    """An expression gets a last dimension of size 1: ``keep.unsqueeze(-1)``, ``keep[..., None]``."""
    match node:
        case ast.Call(func=ast.Attribute(attr="unsqueeze")):
            match argument(node, 0, "dim"):
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
                    return True
            return False
        case ast.Subscript(slice=ast.Tuple(elts=[*before, ast.Constant(value=None)])):
            taken = [each for each in before if not (isinstance(each, ast.Constant) and each.value is None)]
            whole = any(isinstance(each, ast.Constant) for each in taken)
            return whole or len(taken) > 1  # keep[:, None, None] of (b, s) is (b, 1, 1, s)
        case _:
            return False
