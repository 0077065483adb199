"""Optional parameters that a rewrite uses otherwise: what it does with them shows only where a trial gave them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

Parameters = dict[str, frozenset[str]]  # of each function, by its qualified name


def used_otherwise(before: ast.Module, after: ast.Module) -> Parameters:
    """The optional parameters of each method that one text reads, or assigns to, more often than the other."""
    ours = {name: _uses(function) for name, function in _methods(before)}
    theirs = {name: _uses(function) for name, function in _methods(after)}
    common = ours.keys() & theirs.keys()
    changed = {name: (ours[name] - theirs[name]) + (theirs[name] - ours[name]) for name in common}
    return {name: frozenset(parameter for parameter, _ in uses) for name, uses in changed.items() if uses}


def _methods(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for cls in tree.body:
        if isinstance(cls, ast.ClassDef):
            yield from ((f"{cls.name}.{each.name}", each) for each in cls.body if isinstance(each, ast.FunctionDef))


def _uses(function: ast.FunctionDef) -> Counter[tuple[str, type]]:
    """Count how often each optional parameter is read, and how often it is assigned to."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    optional = {each.arg for each in positional[len(positional) - len(spec.defaults) :]}
    optional |= {each.arg for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default}
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    return Counter((node.id, type(node.ctx)) for node in names if node.id in optional)
