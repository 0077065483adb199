"""The names that a piece of code says, and what they mean."""

from __future__ import annotations

import ast
import re
from weakref import WeakKeyDictionary

from mha_lint.syntax.nodes import walk
from mha_lint.vocabulary import is_said

_SAID: WeakKeyDictionary[ast.AST, tuple[str, ...]] = WeakKeyDictionary()


def names_in(node: ast.AST) -> tuple[str, ...]:
    """Each name as often as a piece of code says it; a string that spells a name, such as a key, is one too."""
    found = _SAID.get(node)
    if found is None:
        found = _SAID[node] = tuple(name for each in walk(node) if (name := name_of(each)))
    return found


def name_of(node: ast.AST) -> str:
    """The name that a node itself says; empty where it says none."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return name
        case ast.keyword(arg=str(name)):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Constant(value=str(text)) if text.isidentifier():
            return text
        case _:
            return ""


def names_said(meaning: re.Pattern[str], *nodes: ast.AST) -> bool:
    """A piece of code says a name that means this."""
    return any(is_said(meaning, name) for node in nodes for name in names_in(node))
