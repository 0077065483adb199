"""Numbers, keys and texts of the nodes that are interpreted."""

from __future__ import annotations

import ast

from mha_lint.model.interpreter.homes import Homes
from mha_lint.model.keys import Key, Kind, result


class Numbering:
    """Gives each node a number when it is first asked for: what is only known to be its value is named by that."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._numbers: dict[ast.AST, int] = {}
        self._nodes: list[ast.AST] = []  # by their numbers
        self._keys: dict[ast.AST, Key] = {}
        self._texts: dict[ast.AST, str] = {}

    def number(self, node: ast.AST) -> int:
        found = self._numbers.get(node)
        if found is None:
            found = self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
        return found

    def key(self, node: ast.AST) -> Key:
        key = self._keys.get(node)
        if key is None:
            key = self._keys[node] = result(self.number(node))
        return key

    def node(self, key: Key) -> ast.AST | None:
        """The node that a key was made of."""
        if key.kind is not Kind.RESULT:
            return None
        return self._nodes[key.number] if key.number is not None and key.number < len(self._nodes) else None

    def text(self, node: ast.AST) -> str:
        """The text of a node with one space for any white space."""
        if node not in self._texts:
            self._texts[node] = " ".join(self._homes.names.module.source(node).split())
        return self._texts[node]
