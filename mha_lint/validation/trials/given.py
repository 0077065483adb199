"""Optional parameters that a rewrite assigns to: what it does to them shows only where a trial gave them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Parameters = dict[str, frozenset[str]]  # of each function, by its qualified name


def assigned_anew(before: ast.Module, after: ast.Module) -> Parameters:
    """The optional parameters of each method that the text after assigns to, and the text before does not."""
    ours = {name: _assigned(function) for name, function in _methods(before)}
    theirs = {name: _assigned(function) for name, function in _methods(after)}
    found = {name: assigned - ours[name] for name, assigned in theirs.items() if name in ours}
    return {name: assigned for name, assigned in found.items() if assigned}


def _methods(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for cls in tree.body:
        if isinstance(cls, ast.ClassDef):
            yield from ((f"{cls.name}.{each.name}", each) for each in cls.body if isinstance(each, ast.FunctionDef))


def _assigned(function: ast.FunctionDef) -> frozenset[str]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    optional = {each.arg for each in positional[len(positional) - len(spec.defaults) :]}
    optional |= {each.arg for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default}
    nodes = ast.walk(function)
    return frozenset(
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in optional
    )
