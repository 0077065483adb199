"""Products as they are written: their two operands, and what is inserted behind them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mha_lint.findings import Edit, Position
from mha_lint.syntax.nodes import argument, is_starred, last_name

if TYPE_CHECKING:
    from mha_lint.syntax.exact import Exact
    from mha_lint.syntax.names import ModuleNames

_PRODUCTS = ("matmul", "bmm")
_CHAINED = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


def operands(node: ast.expr, names: ModuleNames) -> tuple[ast.expr, ast.expr] | None:
    """The two operands of ``a @ b``, ``torch.matmul(a, b)``, ``a.matmul(b)`` or an einsum; None for anything else."""
    match node:
        case ast.BinOp(op=ast.MatMult(), left=left, right=right):
            return left, right
        case ast.Call() if not is_starred(node):
            return _of_call(node, names.qualify(node.func) or "")
    return None


def is_by_letters(node: ast.expr) -> bool:
    """Tell whether an equation says which dimensions of a product are summed."""
    return isinstance(node, ast.Call) and last_name(node.func) == "einsum"


def _of_call(call: ast.Call, qualified: str) -> tuple[ast.expr, ast.expr] | None:
    name = last_name(call.func)
    first: ast.expr | None = None
    second: ast.expr | None = None
    if name == "einsum":
        tensors = [each for each in call.args if not isinstance(each, (ast.Constant, ast.JoinedStr))]
        if len(tensors) == 2 and len(call.args) == 3:
            first, second = tensors
    elif name in _PRODUCTS and qualified.startswith("torch."):
        first, second = argument(call, 0, "input"), argument(call, 1, "other", "mat2")
    elif name in _PRODUCTS and isinstance(call.func, ast.Attribute):
        first, second = call.func.value, argument(call, 0, "other", "mat2")
    return None if first is None or second is None else (first, second)


class Written(Struct):
    """Collect what is inserted behind expressions, of which one may end where another does, the inner one first."""

    places: Exact
    _before: dict[Position, str] = field(default_factory=dict)
    _behind: dict[Position, str] = field(default_factory=dict)

    def behind(self, node: ast.expr, text: str) -> None:
        """Insert ``.method()`` behind an expression, in parentheses where it needs them."""
        chained = isinstance(node, _CHAINED) or self.places.is_parenthesized(node)
        if not chained:
            start = self.places.start(node)
            self._before[start] = "(" + self._before.get(start, "")
            text = ")" + text
        end = self.places.end_of_whole(node)
        self._behind[end] = self._behind.get(end, "") + text

    def edits(self) -> tuple[Edit, ...]:
        found = {**self._before, **self._behind}
        return tuple(Edit(place, place, text) for place, text in sorted(found.items()))
