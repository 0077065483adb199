"""Whether code reads the names that scores and weights are given, or asks for no more than their sizes."""

from __future__ import annotations

import ast
from collections.abc import Collection

from mha_lint.model.operations import asks_sizes
from mha_lint.syntax.nodes import is_simple, walk

_ASKED_OF = frozenset({"shape", "dtype", "device"})
_AS_ANOTHER = frozenset({"expand_as", "type_as"})  # methods that ask their argument for its sizes, or its type


def mentions(node: ast.AST, names: Collection[str]) -> bool:
    """Tell whether code reads one of the names, or binds it."""
    return any(_is_named(each, names) for each in walk(node))


def _is_named(node: ast.AST, names: Collection[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Global(names=declared) | ast.Nonlocal(names=declared):
            return any(name in names for name in declared)
        case _:
            return getattr(node, "name", None) in names


def is_read(node: ast.AST, names: Collection[str]) -> bool:
    """Tell whether a node is one of the names, where it is read."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names


def is_question(node: ast.AST, names: Collection[str]) -> bool:
    """Tell whether an expression asks one of the names for its type, its sizes or its device."""
    match node:
        case ast.Attribute(value=asked, attr=attribute):
            return is_read(asked, names) and (attribute in _ASKED_OF or asks_sizes(attribute))
        case ast.Call(func=ast.Attribute(attr=method), args=[asked], keywords=[]) if method in _AS_ANOTHER:
            return is_read(asked, names)
        case _:
            return False


def only_asks(statement: ast.stmt, names: Collection[str]) -> bool:
    """Tell whether a statement asks nothing of scores or weights but their type, their sizes or their device."""
    return is_simple(statement) and not reads_numbers(statement, names)


def reads_numbers(code: ast.AST, names: Collection[str]) -> bool:
    """Tell whether code mentions one of the names, and not only to ask for its type, its sizes or its device."""
    mentioned = sum(_is_named(node, names) for node in walk(code))
    return mentioned != sum(is_question(node, names) for node in walk(code))
