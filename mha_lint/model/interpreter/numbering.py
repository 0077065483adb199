"""Numbers, keys and texts of the nodes that are interpreted."""

from __future__ import annotations

import ast
from itertools import islice

from mha_lint.model.interpreter.homes import Homes
from mha_lint.model.keys import Key, Kind, result


class Numbering:
    """Gives each node a number when it is first asked for: what is only known to be its value is named by that."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._numbers: dict[ast.AST, int] = {}
        self._keys: dict[ast.AST, Key] = {}
        self._texts: dict[ast.AST, str] = {}

    def number(self, node: ast.AST) -> int:
        return self._numbers.setdefault(node, len(self._numbers))

    def key(self, node: ast.AST) -> Key:
        key = self._keys.get(node)
        if key is None:
            key = self._keys[node] = result(self.number(node))
        return key

    def node(self, key: Key) -> ast.AST | None:
        """The node that a key was made of."""
        if key.kind is not Kind.RESULT:
            return None
        return next(islice(self._numbers, key.number, None), None)

    def text(self, node: ast.AST) -> str:
        """The text of a node with one space for any white space."""
        if node not in self._texts:
            self._texts[node] = " ".join(self._homes.names.module.source(node).split())
        return self._texts[node]
