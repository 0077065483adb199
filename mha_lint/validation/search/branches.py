"""Branches behind a flag that no argument sets: a global name of the module, or an attribute that ``__init__`` settles.

``USE_FLASH = is_available()`` and ``self.fused = fused_by_default()`` leave one way of the code without a run. For a
trial such a flag is set the other way, and what is run says so.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any

import torch

from mha_lint.validation.search.flags import Flag
from mha_lint.validation.search.reading import nodes_of

_MOST = 4  # flags of one search: each costs a search for arguments


def flags_before(
    rows: frozenset[int], tree: ast.Module, module: types.ModuleType, subject: torch.nn.Module
) -> list[Flag]:
    """The flags that decide whether these rows run, each the other way round than it is now."""
    found: dict[Flag, None] = {}
    for function in _functions_around(rows, tree):
        for node in _tested(function):
            match node:
                case ast.Call(func=ast.Name(name), args=[], keywords=[]):
                    flag = _answer(name, module)
                case ast.Name(name) if isinstance(vars(module).get(name), bool):
                    flag = Flag("global", name, not vars(module)[name])
                case ast.Attribute(value=ast.Name("self"), attr=name):
                    flag = _attribute(name, tree, subject)
                case _:
                    flag = None
            if flag is not None:
                found[flag] = None
    return list(found)[:_MOST]


def _functions_around(rows: frozenset[int], tree: ast.Module) -> list[ast.FunctionDef]:
    functions = [node for node in nodes_of(tree) if isinstance(node, ast.FunctionDef)]
    return [node for node in functions if any(node.lineno <= row <= (node.end_lineno or row) for row in rows)]


def _tested(function: ast.FunctionDef) -> list[ast.AST]:
    """Return the nodes that the conditions of a function read, and those assigned to the names that they read."""
    nodes = nodes_of(function)
    tests = [node.test for node in nodes if isinstance(node, (ast.If, ast.IfExp, ast.While))]
    inner = [item for test in tests for item in nodes_of(test)]
    names = {item.id for item in inner if isinstance(item, ast.Name)}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(target)], value=value) if target in names:
                inner += nodes_of(value)
    return inner


def _answer(name: str, module: types.ModuleType) -> Flag | None:
    function: Callable[[], Any] | None = vars(module).get(name)
    if not isinstance(function, types.FunctionType):
        return None
    try:
        answer = function()
    except Exception:  # the user's own function may raise anything
        return None
    return Flag("answer", name, not answer) if isinstance(answer, bool) else None


def _attribute(name: str, tree: ast.Module, subject: torch.nn.Module) -> Flag | None:
    """The flag that is kept in an attribute, unless an argument of ``__init__`` sets it: that is the way to set it."""
    parts = [part for part in subject.modules() if isinstance(vars(part).get(name), bool)]
    if not parts or name == "training":
        return None
    for part in parts:
        bases = {base.__name__ for base in type(part).__mro__}
        for node in nodes_of(tree):
            if isinstance(node, ast.ClassDef) and node.name in bases and _is_given(name, node):
                return None
    return Flag("attribute", name, not vars(parts[0])[name])


def _is_given(name: str, cls: ast.ClassDef) -> bool:
    """Tell whether ``__init__`` sets the attribute by its arguments alone."""
    for function in cls.body:
        if not (isinstance(function, ast.FunctionDef) and function.name == "__init__"):
            continue
        parameters = {item.arg for item in [*function.args.args, *function.args.kwonlyargs]} - {"self"}
        for node in nodes_of(function):
            match node:
                case ast.Assign(targets=[*_, ast.Attribute(attr=attr)], value=value) if attr == name:
                    read = {item.id for item in nodes_of(value) if isinstance(item, ast.Name)}
                    return read <= parameters and bool(read)
    return False
