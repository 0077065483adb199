"""Numbers, keys and texts of the nodes that are interpreted."""

from __future__ import annotations

from itertools import islice

import libcst as cst


class Numbering:
    """Gives each node a number when it is first asked for: what is only known to be its value is named by that."""

    def __init__(self) -> None:
        self._numbers: dict[cst.CSTNode, int] = {}
        self._texts: dict[cst.CSTNode, str] = {}

    def number(self, node: cst.CSTNode) -> int:
        return self._numbers.setdefault(node, len(self._numbers))

    def key(self, node: cst.CSTNode) -> str:
        return f"<{self.number(node)}>"

    def node(self, key: str) -> cst.CSTNode | None:
        """The node that a key was made of."""
        digits = key[1:-1]
        if not (key.startswith("<") and digits.isdecimal()):
            return None
        return next(islice(self._numbers, int(digits), None), None)

    def text(self, node: cst.CSTNode) -> str:
        if node not in self._texts:
            self._texts[node] = " ".join(cst.Module([]).code_for_node(node).split())
        return self._texts[node]
