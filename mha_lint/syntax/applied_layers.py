"""Find the layer of a class that makes what a name stands for: ``k = self.split(self.to_k(x))``."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from msgspec import Struct

from mha_lint.syntax.nodes import Block, Function
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import KEEPS_MEANING, SHARES, is_said

Way = tuple[tuple[ast.If, bool], ...]  # the branches that lead to a statement, and whether each test is true there


class Application(Struct, frozen=True):
    """``target = … self.layer(x) …`` in a method: the call of the layer, and the branches that lead to it."""

    target: str
    layer: str
    call: ast.Call
    way: Way


def applications(method: Function, layers: Collection[str], methods: Collection[str]) -> list[Application]:
    """The names of a method that are made by one of the ``layers``, with no more than a change of layout after it."""
    found: list[Application] = []
    for statement, way in _statements(method.body, ()):
        for target, value in _pairs(statement):
            call = _made_by(value, layers, methods)
            if call is not None and isinstance(call.func, ast.Attribute):
                found.append(Application(target, call.func.attr, call, way))
    return found


def disagree(one: Application, other: Application) -> bool:
    """Tell whether two ways through a method make the same thing by different layers, and nobody can have meant it.

    The ways part at a branch. Who shares layers on purpose asks a setting for that, and applies both to the same
    tensor: so the branch asks whether something is given, or what the layers are applied to is not the same.
    """
    for (branch, is_true), (another, is_true_there) in zip(one.way, other.way, strict=False):
        if branch is not another:
            return False
        if is_true == is_true_there:
            continue
        if any(is_said(SHARES, name) for name in names_in(branch.test)):
            return False
        return _asks_for_something(branch.test) or not _are_alike(one.call, other.call)
    return False


def _asks_for_something(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Is, ast.IsNot))


def _are_alike(one: ast.Call, other: ast.Call) -> bool:
    return [ast.dump(each) for each in one.args] == [ast.dump(each) for each in other.args]


def _statements(block: Block, way: Way) -> Iterator[tuple[ast.stmt, Way]]:
    """The statements of a block and of those inside it."""
    for statement in block:
        yield statement, way
        if isinstance(statement, ast.If):
            yield from _statements(statement.body, (*way, (statement, True)))
            yield from _statements(statement.orelse, (*way, (statement, False)))
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, inner, []), way)
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body, way)


def _pairs(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement assigns, each with what it is given, where each is given something of its own."""
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
        ):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
            for target, each in zip(targets, _items(value), strict=False):
                if isinstance(target, ast.Name):
                    yield target.id, each


def _items(value: ast.expr) -> list[ast.expr]:
    """The parts of ``a, b``, and of what does the same to each: ``map(f, (a, b))``, ``(f(x) for x in (a, b))``."""
    match value:
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return items
        case ast.Call(func=ast.Name(id="map"), args=[_, ast.Tuple(elts=items) | ast.List(elts=items)]):
            return items
        case ast.GeneratorExp(generators=[each]) | ast.ListComp(generators=[each]):
            return _items(each.iter)
        case ast.Call(func=ast.Name(id="tuple" | "list"), args=[inside]):
            return _items(inside)
        case _:
            return []


def _made_by(value: ast.expr, layers: Collection[str], methods: Collection[str]) -> ast.Call | None:
    """The call of a layer whose result a value is, after methods of tensors and functions that are given one first.

    A module of the class that is no norm and no dropout may make anything of it.
    """
    while isinstance(value, ast.Call):
        match value.func:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                if name not in methods and not is_said(KEEPS_MEANING, name):
                    return value if name in layers else None
                inner = value.args[0] if value.args else None
            case ast.Attribute(value=ast.Name()) | ast.Name():
                inner = value.args[0] if value.args else None
            case ast.Attribute(value=owner):
                inner = owner
            case _:
                return None
        if inner is None:
            return None
        value = inner
    return None
