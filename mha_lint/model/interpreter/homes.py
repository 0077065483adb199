"""Which module the code belongs to that is being run: names mean what they mean there."""

from __future__ import annotations

import ast
from pathlib import Path

from mha_lint.syntax import nodes
from mha_lint.syntax.names import ClassInfo, Definition, ModuleNames
from mha_lint.syntax.nodes import FUNCTIONS


class Homes:
    """The module that is linted, and those of its project that the interpreter has followed a name into.

    ``names`` are those of the module whose code is run. ``abroad`` are the nodes of other modules that were run:
    nothing is reported of them here.
    """

    def __init__(self, main: ModuleNames) -> None:
        self.names = self.main = main
        self.abroad: set[ast.AST] = set()
        self.defined_in: dict[nodes.Function, str] = {}  # function of another module → "module:Class.method"
        self._of: dict[ast.AST, ModuleNames] = {}

    def enter(self, node: ast.AST) -> ModuleNames:
        """The code of a function is run from here on; the names of the module that was run before."""
        before, self.names = self.names, self._of.get(node, self.main)
        return before

    def made_here(self, node: ast.AST) -> None:
        """A function is made inside of the one that runs."""
        if self.names is not self.main:
            self._of[node] = self.names

    def adopt(self, found: Definition) -> None:
        """A name led to another module of the project."""
        if isinstance(found.value, ClassInfo):
            self.adopt_bases(found.value)
        else:
            self._adopt(found.value, found.home, getattr(found.value, "name", ""))

    def adopt_bases(self, cls: ClassInfo) -> None:
        """A class, or one of its bases, may be that of another module."""
        for info in cls.lineage:
            if info.home is not self.main:
                for name, method in info.methods.items():
                    self._adopt(method, info.home, f"{info.name}.{name}")

    def _adopt(self, node: ast.AST, home: ModuleNames, named: str) -> None:
        if home is self.main or node in self._of:
            return
        self._of[node] = home
        if isinstance(node, FUNCTIONS):
            module = Path(home.path).stem.replace(".", "_")
            self.defined_in[node] = f"{module}:{named}"  # no function of the module that is linted is called so

    def note(self, node: ast.AST) -> None:
        """A function is about to be run."""
        if self.names is not self.main and node not in self.abroad:
            self.abroad.update(nodes.walk(node))
