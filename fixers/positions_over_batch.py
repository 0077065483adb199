"""MHA116: cut the table of positions to the tokens, and bring its rows to their dimension."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Axes, Edit, Fix
from mha_lint.fixers.known_axes import known_axes
from mha_lint.syntax.nodes import every_parameter, indices, last_name, walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.positions_over_batch import OverBatch
    from mha_lint.syntax.exact import Exact

PROBES = ("batch independence",)
_NO_CUT = "the table is not cut to the size of the batch where it is added"
_KEEPS_ROWS = frozenset("unsqueeze to type_as contiguous clone detach float half".split())  # what leaves rows first


def fix(hit: Hit[OverBatch], context: Context) -> Fix | str:
    """Two edits: the size to which positions are cut, or numbered, and a transpose behind them."""
    if hit.evidence.elsewhere:
        return "the positions are added in another file"
    places = context.places
    sides = [(table, to, _rows(table, places)) for table, to in _operands(hit.evidence.node, places)]
    cut = next(((table, to, size) for table, to, size in sides if size is not None), None)
    if cut is None:
        return _NO_CUT
    table, to, size = cut
    edit = _by_tokens(size, to, places)
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
    sides = [node, *(side for side, _ in _operands(node, places))]
    names = [side.id for side in sides if isinstance(side, ast.Name) and side.id in given]
    return tuple(Axes(name, batch=0, tokens=1) for name in names[:1])


def _operands(node: ast.AST, places: Exact) -> list[tuple[ast.expr, ast.expr]]:
    """Each side of the sum that may be the positions, with the other."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [(right, left), (left, right)]
        case ast.Call(func=ast.Attribute(value=before), args=[given]) if not isinstance(before, ast.Name):
            return [(given, before), (before, given)]
        case ast.Call(func=ast.Attribute(value=before), args=[given]):
            return [(given, before)]
        case ast.Call(args=[one, other]):
            return [(other, one), (one, other)]
        case _:
            statement = places.parent(node)
            return [(statement.value, statement.target)] if isinstance(statement, ast.AugAssign) else []


def _rows(node: ast.expr, places: Exact, named: frozenset[str] = frozenset()) -> ast.expr | None:
    """The size that says how many positions there are: ``n`` of ``self.pe[:n]``, or of ``arange(n)``.

    ``named`` are the names that led here: ``x = self.embed(x)`` leads back to itself, and tells nothing.
    """
    match node:
        case ast.Subscript(value=value):
            first = indices(node)[0]
            if not isinstance(first, ast.Slice):
                return None
            return _rows(value, places, named) if first.upper is None else first.upper if first.lower is None else None
        case ast.Name(id=name):
            given = None if name in named else _assigned(node, places)
            return None if given is None else _rows(given, places, named | {name})
        case ast.Call(func=function, args=args) if last_name(function) == "arange":
            return args[0] if len(args) == 1 else None
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _KEEPS_ROWS:
            return _rows(value, places, named)
        case ast.Call(args=[numbers]):
            return _rows(numbers, places, named)
        case _:
            return None


def _assigned(name: ast.Name, places: Exact) -> ast.expr | None:
    """The only value that the function gives a name."""
    function = places.function(name)
    found = [
        node.value
        for node in ([] if function is None else walk(function))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == name.id
    ]
    return found[0] if len(found) == 1 else None


def _unpacked(name: ast.Name, places: Exact) -> ast.expr | None:
    """The tensor (b, t), or (b, t, c), whose first size has this name: ``b, t = ids.shape``."""
    function = places.function(name)
    for node in () if function is None else walk(function):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id=first), *others])],
                value=ast.Attribute(value=tensor, attr="shape")
                | ast.Call(func=ast.Attribute(value=tensor, attr="size"), args=[]),
            ) if first == name.id and len(others) in (1, 2):
                return tensor
    return None


def _by_tokens(size: ast.expr, to: ast.expr, places: Exact) -> Edit | None:
    """The size of dimension 1 of a tensor in place of that of its dimension 0."""
    dim: ast.expr | None = None
    match size:
        case ast.Call(func=ast.Attribute(value=tensor, attr="size"), args=[ast.Constant(value=0) as dim], keywords=[]):
            pass
        case ast.Subscript(value=ast.Attribute(value=tensor, attr="shape"), slice=ast.Constant(value=0) as dim):
            pass
        case ast.Call(func=ast.Name(id="len"), args=[tensor], keywords=[]):
            pass
        case ast.Name():
            source = to if isinstance(to, ast.Name) else _unpacked(size, places)
            return None if source is None else places.replace(size, f"{places.source(source)}.shape[1]")
        case _:
            return None
    if isinstance(to, ast.Name) and isinstance(tensor, ast.Name) and tensor.id != to.id:
        return places.replace(size, f"{to.id}.shape[1]")
    return places.replace(size, f"{places.source(tensor)}.size(1)") if dim is None else places.replace(dim, "1")
