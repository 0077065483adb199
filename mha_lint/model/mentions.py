"""Which names a piece of code mentions, and which it assigns."""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from mha_lint.model.binding import Assigned

_NAME = re.compile(r"[^\W\d]\w*")


class Mentions:
    """Reads each piece of code once."""

    def __init__(self) -> None:
        self._names: dict[cst.CSTNode, frozenset[str]] = {}
        self._assigned: dict[cst.CSTNode, frozenset[str]] = {}
        self._after: dict[cst.CSTNode, list[frozenset[str]]] = {}  # by the first statement of the block

    def within(self, node: cst.CSTNode) -> frozenset[str]:
        if node not in self._names:
            self._names[node] = frozenset(_NAME.findall(cst.Module([]).code_for_node(node)))
        return self._names[node]

    def after_each(self, body: Sequence[cst.CSTNode]) -> list[frozenset[str]]:
        """For each statement of a block the names that occur in the statements after it."""
        if not body:
            return []
        if body[0] not in self._after:
            after = [frozenset[str]()]
            for statement in reversed(body[1:]):
                after.append(after[-1] | self.within(statement))
            self._after[body[0]] = after[::-1]
        return self._after[body[0]]

    def assigned(self, node: cst.CSTNode) -> frozenset[str]:
        """Names, and attributes of self as ``self.name``, that the code assigns."""
        if node not in self._assigned:
            collector = Assigned()
            node.visit(collector)
            self._assigned[node] = frozenset(collector.names)
        return self._assigned[node]
