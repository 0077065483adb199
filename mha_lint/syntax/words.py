"""The names that a piece of code says, and what they mean."""

from __future__ import annotations

import ast
import re
from weakref import WeakKeyDictionary

from mha_lint.syntax.nodes import children
from mha_lint.vocabulary import is_said

_SAID: WeakKeyDictionary[ast.AST, tuple[str, ...]] = WeakKeyDictionary()


def names_in(node: ast.AST) -> tuple[str, ...]:
    """Each name as often as a piece of code says it. Comments say nothing, nor do strings that are no names."""
    said = _SAID.get(node)
    if said is None:
        said = _SAID[node] = tuple(_read(node))
    return said


def _read(node: ast.AST) -> list[str]:
    found: list[str] = []
    pending = [node]
    while pending:
        current = pending.pop()
        if current is not node and isinstance(current, ast.stmt):  # each statement is read once, whoever asks
            found += names_in(current)
            continue
        name = name_of(current)
        if name:
            found.append(name)
        pending += children(current)
    return found


_NAMING: frozenset[type[ast.AST]] = frozenset(
    {
        ast.Name, ast.Attribute, ast.arg, ast.Constant, ast.keyword, ast.BinOp, ast.AugAssign, ast.FunctionDef,
        ast.AsyncFunctionDef, ast.ClassDef,
    }
)  # fmt: skip


def name_of(node: ast.AST) -> str:
    """The name that a node itself says; empty where it says none.

    A string that spells a name is one, such as a key, or what ``getattr`` is given; ``@`` is ``matmul``.
    """
    if type(node) not in _NAMING:
        return ""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return name
        case ast.Constant(value=str(text)):
            return text if text.isidentifier() else ""
        case ast.keyword(arg=str(name)):
            return name
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            return "matmul"
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case _:
            return ""


def names_said(meaning: re.Pattern[str], *nodes: ast.AST) -> bool:
    """A piece of code says a name that means this."""
    for node in nodes:
        for name in names_in(node):
            if is_said(meaning, name):
                return True
    return False
