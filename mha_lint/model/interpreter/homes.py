"""Which module the code belongs to that is being run: names mean what they mean there."""

from __future__ import annotations

import ast
from pathlib import Path

from mha_lint.syntax import nodes
from mha_lint.syntax.names import ModuleNames


class Homes:
    """The module that is linted, and those of its project that the interpreter has followed a name into.

    ``names`` are those of the module whose code is run. ``abroad`` are the nodes of other modules that were run:
    nothing is reported of them here.
    """

    def __init__(self, main: ModuleNames) -> None:
        self.names = self.main = main
        self.abroad: set[ast.AST] = set()
        self._of = {} if main.program is None else main.program.owners
        self.too_long: set[tuple[ast.AST, int]] = set()  # functions of other modules that took more than so many steps
        self._symbols: dict[ast.AST, str] = {}
        self._made: dict[ast.AST, ModuleNames] = {}  # functions that code of other modules makes

    def enter(self, node: ast.AST) -> ModuleNames:
        """The code of a function is run from here on; the names of the module that was run before."""
        before, self.names = self.names, self.home_of(node)
        return before

    def home_of(self, node: ast.AST) -> ModuleNames:
        """The module that a function belongs to."""
        owner = self._of.get(node)
        return self._made.get(node, self.main) if owner is None else owner.home

    def is_abroad(self, node: ast.AST) -> bool:
        """The function belongs to another module than the one that is linted."""
        return self.home_of(node) is not self.main

    def leaves(self, node: ast.AST) -> bool:
        """A call of the function leads from the module that is linted into another one."""
        return self.names is self.main and self.is_abroad(node)

    def symbol(self, node: ast.AST) -> str:
        """``module:Class.method`` of a function of another module: no function that is linted is called so."""
        found = self._symbols.get(node)
        if found is None:
            found = self._symbols[node] = self._symbol(node)
        return found

    def _symbol(self, node: ast.AST) -> str:
        owner = self._of.get(node)
        if owner is None or owner.home is self.main:
            return ""
        module = Path(owner.home.path).stem.replace(".", "_")
        return f"{module}:{owner.symbol}"

    def made_here(self, node: ast.AST) -> None:
        """A function is made inside of the one that runs."""
        if self.names is not self.main:
            self._made[node] = self.names

    def note(self, node: ast.AST) -> None:
        """A function is about to be run."""
        if self.names is not self.main and node not in self.abroad:
            self.abroad.update(nodes.walk(node))
