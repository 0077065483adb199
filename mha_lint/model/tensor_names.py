"""Which of its parameters a function uses as tensors, as its text tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from mha_lint.model.operations import TABLE
from mha_lint.syntax.nodes import Function, last_name, walk

# Functions of torch and einops that nothing but a tensor is given to by name.
_TAKING = frozenset(
    "matmul bmm baddbmm einsum softmax scaled_dot_product_attention rearrange repeat_interleave dropout".split()
)
_USED: WeakKeyDictionary[ast.AST, frozenset[str]] = WeakKeyDictionary()


def used_as_tensors(function: Function) -> frozenset[str]:
    """The names that stand where nothing but a tensor can: ``q.shape``, ``q.transpose(1, 2)``, ``q @ k``."""
    found = _USED.get(function)
    if found is None:
        found = _USED[function] = frozenset(name for node in walk(function) for name in _used(node))
    return found


def _used(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr="shape"):
            yield name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in TABLE:
            yield name
        case ast.BinOp(op=ast.MatMult(), left=left, right=right):
            yield from (side.id for side in (left, right) if isinstance(side, ast.Name))
    if isinstance(node, ast.Call) and last_name(node.func) in _TAKING:
        yield from (argument.id for argument in node.args if isinstance(argument, ast.Name))
