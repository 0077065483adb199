"""An interpreter that remembers the tensor that each expression gives, for whoever asks an editor about one."""

from __future__ import annotations

import ast

from mha_lint.model.interpreter.interpreter import Interpreter
from mha_lint.model.values import State, Tensor, Value


class Tracing(Interpreter):
    """Computes what :class:`Interpreter` does, and takes longer."""

    def evaluate(self, node: ast.expr, state: State) -> Value:
        value = super().evaluate(node, state)
        if isinstance(value, Tensor):
            self.seen.saw_expression(node, value, state)
        return value
