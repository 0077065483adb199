"""Which of its parameters a function uses as tensors, as its text tells."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from weakref import WeakKeyDictionary

from mha_lint.model.events import Meant
from mha_lint.model.operations import TABLE
from mha_lint.syntax.nodes import Function, last_name, walk

# Functions of torch and einops that nothing but a tensor is given to by name.
_TAKING = frozenset(
    "matmul bmm baddbmm einsum softmax scaled_dot_product_attention rearrange repeat_interleave dropout".split()
)
# Functions of torch that give a tensor, and of which nothing more is known.
_MAKING = frozenset("linspace logspace searchsorted bucketize multinomial argsort bincount from_numpy".split())
_LAID_OUT: WeakKeyDictionary[ast.AST, frozenset[str]] = WeakKeyDictionary()
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
        yield from _arguments(node)


def laid_out_as_tensors(function: ast.AST) -> frozenset[str]:
    """The names that stand where nothing but a tensor can, and no module either: ``q.shape``, ``q @ k``, ``q.mT``.

    So do names that are given what a function of torch made. A statement of its own is no such place: what is asked is
    whether its call is one of a tensor.
    """
    found = _LAID_OUT.get(function)
    if found is None:
        found = _LAID_OUT[function] = given_tensors(function, frozenset(_laid_out(function)))
    return found


def given_tensors(function: ast.AST, known: frozenset[str]) -> frozenset[str]:
    """The known names, and those that are given what is made of them, or by torch, with calculations and methods."""
    given = [node for node in walk(function) if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    found, before = set(known), -1
    while len(found) > before:
        before = len(found)
        found |= {last_name(node.targets[0]) for node in given if is_tensor(node.value, found)}
    return frozenset(found)


def is_tensor(value: ast.expr, known: Container[str]) -> bool:
    """An expression is a tensor: a function of torch makes it, or something is done to one that gives another."""
    match value:
        case ast.Name(id=name):
            return name in known
        case ast.BinOp(left=left, right=right):
            return is_tensor(left, known) or is_tensor(right, known)
        case ast.UnaryOp(op=ast.USub() | ast.Invert(), operand=inner) | ast.Subscript(value=inner):
            return is_tensor(inner, known)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch" | "F"), attr=name)):
            return name in TABLE or name in _MAKING
        case ast.Call(func=ast.Attribute(value=owner, attr=name)):
            return name in TABLE and is_tensor(owner, known)
        case _:
            return False


def _laid_out(function: ast.AST) -> Iterator[str]:
    alone = {node.value for node in walk(function) if isinstance(node, ast.Expr)}
    for node in walk(function):
        if isinstance(node, ast.expr) and node in alone:
            continue
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            yield from _used(node)
            continue
        row = TABLE.get(node.func.attr)
        if last_name(node.func) in _TAKING or (row is not None and row.meant is Meant.MASKS):
            yield from _arguments(node)
        if isinstance(node.func.value, ast.Name) and _is_of_tensors_alone(node.func.attr):
            yield node.func.value.id


def _is_of_tensors_alone(method: str) -> bool:
    """Tell whether a method of this name lays out or fills; others change a type or numbers, as those of modules do."""
    row = TABLE.get(method)
    return method == "size" or (row is not None and row.meant in (Meant.MOVES, Meant.MASKS))


def _arguments(call: ast.Call) -> Iterator[str]:
    yield from (argument.id for argument in call.args if isinstance(argument, ast.Name))
