"""MHA116: cut the table of positions to the tokens, and bring its rows to their dimension."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Axes, Edit, Fix
from mha_lint.fixers.known_axes import known_axes
from mha_lint.syntax.nodes import every_parameter, indices

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.positions_over_batch import OverBatch
    from mha_lint.syntax.exact import Exact

PROBES = ("batch independence",)
_NO_CUT = "the table is not cut to the size of the batch where it is added"


def fix(hit: Hit[OverBatch], context: Context) -> Fix | str:
    """Two edits: the end of the slice, and a transpose behind it."""
    places = context.places
    table = next((side for side in _operands(hit.evidence.node, places) if _is_cut(side)), None)
    if not isinstance(table, ast.Subscript):
        return _NO_CUT
    first = indices(table)[0]
    assert isinstance(first, ast.Slice) and first.upper is not None
    edit = _by_tokens(first.upper, places)
    if edit is None:
        return "the end of the slice is not written as a size"
    edits = (edit, places.insert(places.end_of_whole(table), ".transpose(0, 1)"))
    axes = known_axes(hit.evidence.given, hit.symbol, context) or _axes_of_sum(hit.evidence.node, places)
    flagged = places.rows(places.statement(table) or table)
    return Fix("unsafe", "corrected", "Give each token its position", edits, flagged, probes=PROBES, axes=axes)


def _axes_of_sum(node: ast.AST, places: Exact) -> tuple[Axes, ...]:
    """Positions are added to a parameter itself, (b, t, c)."""
    function = places.function(node)
    given = set() if function is None else {parameter.arg for parameter in every_parameter(function)}
    sides = [node, *_operands(node, places)]
    names = [side.id for side in sides if isinstance(side, ast.Name) and side.id in given]
    return tuple(Axes(name, batch=0, tokens=1) for name in names[:1])


def _operands(node: ast.AST, places: Exact) -> list[ast.expr]:
    match node:
        case ast.BinOp(left=left, right=right):
            return [right, left]
        case ast.Call(func=function, args=args):
            before = [function.value] if isinstance(function, ast.Attribute) else []
            return [*args, *before]
        case _:
            statement = places.parent(node)
            return [statement.value] if isinstance(statement, ast.AugAssign) else []


def _is_cut(node: ast.expr) -> bool:
    """``self.pe[: x.size(0)]``, maybe with whole dimensions behind."""
    if not isinstance(node, ast.Subscript):
        return False
    first = indices(node)[0]
    return isinstance(first, ast.Slice) and first.lower is None and first.upper is not None


def _by_tokens(size: ast.expr, places: Exact) -> Edit | None:
    """The size of dimension 1 in place of that of dimension 0."""
    match size:
        case ast.Call(func=ast.Attribute(attr="size"), args=[ast.Constant(value=0) as dim], keywords=[]):
            return places.replace(dim, "1")
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Constant(value=0) as dim):
            return places.replace(dim, "1")
        case ast.Call(func=ast.Name(id="len"), args=[tensor], keywords=[]):
            return places.replace(size, f"{places.source(tensor)}.size(1)")
        case _:
            return None
