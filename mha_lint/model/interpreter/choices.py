"""Choices: a piece of code is run once for each way of taking those that it meets."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mha_lint.model import operations
from mha_lint.model.fuel import MAX_STATES
from mha_lint.model.interpreter.homes import Homes
from mha_lint.model.interpreter.meter import Meter
from mha_lint.model.interpreter.paths import Trail
from mha_lint.model.values import Instance, State, Value
from mha_lint.syntax import nodes


class Choices:
    """Takes choices as the trail says, which is another one each time that the code is run."""

    def __init__(self, homes: Homes, meter: Meter) -> None:
        self.trail = Trail()
        self._homes, self._meter = homes, meter
        self._choiceless: dict[ast.AST, bool] = {}

    def choose(self, count: int) -> int:
        """The number of the way that this path takes, among so many."""
        return self.trail.choose(count) if count > 1 else 0

    def each(
        self, state: State, run: Callable[[State], Value], *, of: ast.AST | None = None
    ) -> list[tuple[Value, State]]:
        """Run something that may meet choices, once for each way of taking them.

        ``of`` is the code that is run, whose text may tell that there are none.
        """
        built = not isinstance(state.variables.get("self"), Instance)  # as where a method is called like a function
        if built and of is not None and self._settled(of):
            return [(run(state), state)]
        results: list[tuple[Value, State]] = []
        pending: list[tuple[int, ...]] = [()]
        outer = self.trail
        while pending:
            if len(results) >= MAX_STATES:
                self._meter.truncated = True
                break
            self.trail = trail = Trail(pending.pop())
            branch = state.copy()
            try:
                value = run(branch)
            finally:
                self.trail = outer
            results.append((value, branch))
            if trail.taken:
                pending += trail.others()
        return results

    def _settled(self, code: ast.AST) -> bool:
        """No value, whatever it is, makes the code choose: it calls and calculates nothing."""
        if code not in self._choiceless:
            self._choiceless[code] = all(map(self._chooses_nothing, nodes.walk(code)))
        return self._choiceless[code]

    def _chooses_nothing(self, node: ast.AST) -> bool:
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):  # of another object, which may be yet to be built
                return name not in operations.ATTRIBUTES and not any(
                    cls.is_property(name) for cls in self._homes.names.every_class
                )
            case ast.Subscript(ctx=ast.Load()) | ast.Slice() | ast.Name() | ast.Constant() | ast.Tuple() | ast.List():
                return True
            case ast.Assign() | ast.Expr() | ast.AnnAssign() | ast.Return() | ast.Starred() | ast.JoinedStr():
                return True
            case _:
                return False
