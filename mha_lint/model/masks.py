"""Values are read as masks here, and masks are followed through subscripts."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model import padding
from mha_lint.model.keys import Key, Kind
from mha_lint.model.marks import (
    GIVEN,
    Mask,
    Numbers,
    Positions,
    constant,
)
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import Size
from mha_lint.model.values import (
    NONE,
    Const,
    Int,
    Number,
    Qualified,
    Slice,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_int,
)
from mha_lint.syntax.nodes import last_name

Known = Mask | Positions | None
_WHOLE = Slice(None, None)
SMALLEST = -65504.0  # of float16; other types have smaller ones, which mask as well


def mask_of(value: Value | None, run: Run) -> Mask | None:
    """Return what is known of a value as a mask: a number is the same everywhere, a comparison is a condition."""
    match value:
        case Tensor(mask=Mask() as mask):
            return mask
        case Const(bool(flag)):
            return constant(flag, boolean=True)
        case Int() | Number() | Const(float()) | Qualified():
            factor = as_factor(value)
            number = None if factor is None else factor.constant
            return None if number is None else constant(number)
        case Unknown(Key(kind=Kind.ATTRIBUTE) as key) if is_smallest(key, run):
            return constant(SMALLEST)
        case Unknown(Key() as key) | Tensor(shape=None, mask=None, key=Key() as key):
            return _told_by(run.node(key))
        case _:
            return None


def _told_by(node: ast.AST | None) -> Mask | None:
    if node is None or not _is_comparison(node):
        return None
    return padding.compared(node) or GIVEN


def is_smallest(key: Key, run: Run) -> bool:
    """Tell whether the key is of ``torch.finfo(…).min``."""
    made = None if key.owner is None or key.last_name != "min" else run.node(key.owner)
    return isinstance(made, ast.Call) and last_name(made.func) == "finfo"


def _is_comparison(node: ast.AST | None) -> bool:
    """Return True where a node is a comparison such as ``==`` or ``<``, which is elementwise on tensors."""
    compares = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], compares)


def number_of(value: Value | None, run: Run) -> Numbers:
    """The number that a value is, where it is the same everywhere."""
    mask = mask_of(value, run)
    return mask.inside if mask is not None and mask.uniform else None


def chosen(call: Call) -> tuple[Value, ...]:
    return where_parts(call.args, method=call.interpreter.is_method(call.node))


def where_parts(args: tuple[Value, ...], *, method: bool) -> tuple[Value, ...]:
    """Condition, what is taken where it holds, and what elsewhere: of ``torch.where`` or the method."""
    return (args[1], args[0], *args[2:]) if method and len(args) > 1 else args


def second(call: Call, name: str) -> Value | None:
    return call.args[1] if len(call.args) > 1 else call.keywords.get(name)


def third(call: Call, name: str) -> Value | None:
    return call.args[2] if len(call.args) > 2 else call.keywords.get(name)


def indexed(run: Run, base: Value, indices: list[Value], result: Value, node: ast.expr) -> Value:
    """The result of a subscript, with what a mask that was indexed still is."""
    if not isinstance(base, Tensor) or not (base.mask is not None or base.masked or base.single):
        return result
    mask = base.mask
    if isinstance(mask, Positions):
        mask = _indexed_positions(mask, indices)
    elif mask is not None:
        laid = padding.indexed(node, mask, indices)
        kept = mask if _keeps_grid(indices, mask) else mask.somewhere()
        mask = replace(kept, padding=laid, grid=_grid_of(kept, indices, result))
    if isinstance(result, Tensor):
        return replace(result, mask=mask, masked=base.masked, single=base.single, homes=base.homes)
    return Tensor(key=run.key(node), mask=mask, homes=base.homes) if mask is not None else result


def _indexed_positions(known: Positions, indices: list[Value]) -> Positions:
    taken = [at for at, index in enumerate(indices) if index != NONE]
    column = indices[-1] == NONE and bool(taken)  # p[:, None]; p[None] is a row
    if known.rank != 1 or len(taken) > 1:
        return Positions(column)
    if not taken:
        return Positions(column, known.count, 1 + len(indices))
    whole = indices[taken[0]] in (_WHOLE, Const(...))
    behind = len(indices) - 1 - taken[0]
    return Positions(column, known.count if whole and behind < 2 else None, len(indices))


def _grid_of(mask: Mask, indices: list[Value], result: Value) -> tuple[Size, Size] | None:
    """The grid that is left where a subscript takes the first queries and keys, and puts no dimension among them."""
    if mask.grid is None or not all(map(_begins_at_the_first, indices)):
        return None
    dims = [at for at, index in enumerate(indices) if index not in (NONE, Const(...))]
    if dims and NONE in indices[dims[0] :]:
        return None
    shape = result.shape if isinstance(result, Tensor) else None
    if shape is not None:
        return (shape[-2], shape[-1]) if len(shape) > 1 else None
    whole = all(index in (NONE, Const(...), _WHOLE) for index in indices)
    ends = not indices or indices[-1] != NONE or len(indices) == indices.count(NONE)
    return mask.grid if whole and ends else None


def _begins_at_the_first(index: Value) -> bool:
    if isinstance(index, Slice):
        begins = index.start is None or index.start == NONE or as_int(index.start) == 0
        return begins and (index.step is None or index.step == NONE)
    return index in (NONE, Const(...)) or as_int(index) == 0


def _keeps_grid(indices: list[Value], mask: Mask) -> bool:
    """Return True where a subscript keeps both dimensions and the first key in place, or the mask has no diagonal.

    Queries may start at a position that is not known.
    """
    if mask.diagonal is None:
        return True
    taken = [index for index in indices if index != NONE]
    if taken and indices[-1] == NONE:
        return False
    for index in taken:
        if isinstance(index, Slice):
            start = None if index.start is None else as_int(index.start)
            if index.step is not None or (start is not None and start != 0):
                return False
        elif index != Const(...) and as_int(index) != 0:
            return False
    if any(isinstance(index, Int) for index in taken[-2:]) and len(taken) < 3:
        return False
    keys = taken[-1] if len(taken) > 1 and isinstance(taken[-1], Slice) else None
    return keys is None or keys.start is None or as_int(keys.start) == 0
