"""``mask[:, :, None] & mask[:, None, :]``: pairs of positions tell that a mask is of entries and positions."""

from __future__ import annotations

import ast

from mha_lint.model.run import Run
from mha_lint.model.values import State, as_tensor
from mha_lint.syntax import nodes
from mha_lint.vocabulary import MASKS, is_said

_COMBINES = (ast.BitAnd, ast.BitOr, ast.Mult)
_PAIRED = frozenset({1, 2})  # where the two get a dimension of size 1


def learn_rank(run: Run, node: ast.BinOp, state: State) -> None:
    """Give a mask two dimensions where the code combines a row of it with a column of it."""
    if not isinstance(node.op, _COMBINES):
        return
    left, right = _inserted(node.left), _inserted(node.right)
    if left is None or right is None or left[0] != right[0] or {left[1], right[1]} != _PAIRED:
        return
    value = state.variables.get(left[0])
    tensor = None if value is None else as_tensor(value)
    if tensor is not None and is_said(MASKS, left[0]):
        run.refine(state, tensor, 2)


def _inserted(node: ast.expr) -> tuple[str, int] | None:
    """The name in ``m[:, None, :]`` or ``m.unsqueeze(1)``, and where the result of (b, s) has a size of 1."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[_, _, _] as indices)):
            whole = [_is_whole(index) for index in indices]
            inserts = [isinstance(index, ast.Constant) and index.value is None for index in indices]
            return (name, inserts.index(True)) if sum(whole) == 2 and sum(inserts) == 1 else None
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="unsqueeze")):
            dim = nodes.argument(node, 0, "dim")
            match dim:
                case ast.Constant(value=int() as number):
                    return name, number
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
                    return name, 3 - number
    return None


def _is_whole(index: ast.expr) -> bool:
    return isinstance(index, ast.Slice) and index.lower is index.upper is index.step is None
