"""Keyword arguments that a call takes from a dictionary: ``kw = {"device": d}``, then ``Linear(c, c, **kw)``."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from mha_lint.syntax.nodes import text_of, walk

_DISPLAYED: WeakKeyDictionary[ast.AST, Mapping[str, tuple[str, ...]]] = WeakKeyDictionary()


def names_of(given: ast.expr, function: ast.AST) -> tuple[str, ...] | None:
    """The names of the arguments that ``**given`` stands for in a function; None where they are not known."""
    if isinstance(given, ast.Dict):
        return _keys(given)
    if not isinstance(given, ast.Name):
        return None
    found = _DISPLAYED.get(function)
    if found is None:
        found = _DISPLAYED[function] = _displayed(function)
    return found.get(given.id)


def _displayed(function: ast.AST) -> dict[str, tuple[str, ...]]:
    """The dictionaries that a function gives a name once, and does nothing with but to hand them on with ``**``."""
    keys: dict[str, tuple[str, ...]] = {}
    spread: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as display):
                names = _keys(display)
                if names is not None:
                    keys[name] = names
            case ast.keyword(arg=None, value=ast.Name(id=name)):
                spread[name] += 1
            case ast.Name(id=name):
                said[name] += 1
    return {name: names for name, names in keys.items() if said[name] == spread[name] + 1}


def _keys(display: ast.Dict) -> tuple[str, ...] | None:
    names = [None if key is None else text_of(key) for key in display.keys]
    known = tuple(name for name in names if name is not None)
    return known if len(known) == len(names) else None
