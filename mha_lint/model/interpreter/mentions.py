"""The names that a piece of code mentions, and those that it assigns."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from mha_lint.model.conditions import Path
from mha_lint.syntax.nodes import FUNCTIONS, Block, children
from mha_lint.syntax.words import names_in


class Mentions:
    """Reads each piece of code once."""

    def __init__(self) -> None:
        self._names: dict[ast.AST, frozenset[str]] = {}
        self._assigned: dict[ast.AST, frozenset[Path]] = {}
        self._after: dict[ast.AST, list[frozenset[str]]] = {}  # by the first statement of the block

    def within(self, node: ast.AST) -> frozenset[str]:
        if node not in self._names:
            self._names[node] = frozenset(names_in(node))
        return self._names[node]

    def after_each(self, body: Block) -> list[frozenset[str]]:
        """For each statement of a block the names that occur in the statements after it."""
        if not body:
            return []
        if body[0] not in self._after:
            after = [frozenset[str]()]
            for statement in reversed(body[1:]):
                after.append(after[-1] | self.within(statement))
            self._after[body[0]] = after[::-1]
        return self._after[body[0]]

    def assigned(self, nodes: Iterable[ast.AST]) -> frozenset[Path]:
        """Names, and attributes of self, that code assigns, but for what functions made there do."""
        return frozenset[Path]().union(*map(self._assigned_in, nodes))

    def _assigned_in(self, node: ast.AST) -> frozenset[Path]:
        if node not in self._assigned:
            self._assigned[node] = frozenset(_assigned(node))
        return self._assigned[node]


def _assigned(node: ast.AST) -> set[Path]:
    names: set[Path] = set()
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, FUNCTIONS):
            names.add((current.name,))
        if isinstance(current, (*FUNCTIONS, ast.Lambda)):
            continue
        for target in _targets(current):
            _add(target, names)
        pending += children(current)
    return names


def _targets(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets):
            return targets
        case ast.AnnAssign() | ast.AugAssign() | ast.NamedExpr() | ast.For() | ast.AsyncFor():
            return [node.target]
        case ast.withitem(optional_vars=target) if target is not None:
            return [target]
        case _:
            return []


def _add(target: ast.expr, names: set[Path]) -> None:
    match target:
        case ast.Name(id=name):
            names.add((name,))
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            names.add(("self", name))
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                _add(element, names)
        case ast.Starred(value=inner):
            _add(inner, names)
