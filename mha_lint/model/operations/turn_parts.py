"""Vectors that turn, and rotary tables, taken apart: by chunks, splits, subscripts and patterns of einops."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model.cached import Joined, Rotated
from mha_lint.model.keys import dimension
from mha_lint.model.operations.turn_joins import rows_taken
from mha_lint.model.operations.turns import first_of, from_the_end, lost, mark_of, marked, phase_of, rank_of, table_of
from mha_lint.model.rotary import Laid, Part, Phase, Rotary, RotaryTable, Split, Stage
from mha_lint.model.run import Call
from mha_lint.model.sizes import constant, symbol
from mha_lint.model.values import (
    NONE,
    Const,
    Int,
    Repeated,
    Sequence,
    Slice,
    State,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
)


def halved(call: Call, result: Value) -> Value:
    """``x.chunk(2, -1)``."""
    return _in_two(call, result, call.integer(2, "dim", 0)) if call.integer(1, "chunks") == 2 else lost_all(result)


def cut(call: Call, result: Value) -> Value:
    """``x.split([d // 2, d // 2], -1)``."""
    value = call.args[2] if len(call.args) > 2 else call.keywords.get("dim")
    return _in_two(call, result, None if value is None else as_int(value))


def _in_two(call: Call, result: Value, dim: int | None) -> Value:
    tensor = first_of(call)
    last = isinstance(tensor, Tensor) and from_the_end(dim, rank_of(tensor)) == -1
    if not last or not isinstance(result, Sequence) or len(result.items) != 2 or table_of(tensor) is not None:
        return _parts_of_a_table(call, result, dim) if table_of(tensor) is not None else lost_all(result)
    return Sequence(tuple(marked(call, item, Part(Laid.HALVES, index)) for index, item in enumerate(result.items)))


def _parts_of_a_table(call: Call, result: Value, dim: int | None) -> Value:
    """Parts along another dimension than that of the frequencies are tables like it."""
    tensor, table = first_of(call), table_of(first_of(call))
    assert isinstance(tensor, Tensor) and table is not None
    at = from_the_end(dim, rank_of(tensor))
    if at is None or at in (table.dim, table.pair):
        return lost_all(result)
    return _each(call, result, table)


def _each(call: Call, result: Value, mark: Rotary | None) -> Value:
    match result:
        case Sequence(items):
            return Sequence(tuple(marked(call, item, mark) if isinstance(item, Tensor) else item for item in items))
        case Repeated(item, count):
            return Repeated(marked(call, item, mark) if isinstance(item, Tensor) else item, count)
        case _:
            return result


def lost_all(result: Value) -> Value:
    """Nothing is known of several tensors."""
    match result:
        case Sequence(items) if any(isinstance(item, Tensor) and item.rotary is not None for item in items):
            bare = (replace(item, rotary=None) if isinstance(item, Tensor) else item for item in items)
            return Sequence(tuple(bare))
        case Repeated(Tensor(rotary=mark) as item, count) if mark is not None:
            return Repeated(replace(item, rotary=None), count)
        case _:
            return result


def unbound(call: Call, result: Value) -> Value:
    """``x.unflatten(-1, (-1, 2)).unbind(-1)``."""
    tensor = first_of(call)
    mark = mark_of(tensor)
    if not isinstance(tensor, Tensor) or not isinstance(mark, (Split, RotaryTable)):
        return lost_all(result)
    dim = from_the_end(call.integer(1, "dim", 0), rank_of(tensor))
    if isinstance(mark, Split):
        if dim != mark.pair:
            return lost_all(result)
        item = result.item if isinstance(result, Repeated) else Tensor()
        items = result.items if isinstance(result, Sequence) and len(result.items) == 2 else (item, item)
        return Sequence(tuple(marked(call, each, Part(mark.by, index)) for index, each in enumerate(items)))
    if dim is None or dim == mark.dim or mark.pair is not None:
        return lost_all(result)
    return _each(call, result, without_dim(mark, dim))


def without_dim(table: RotaryTable, dim: int) -> RotaryTable:
    """The table without the dimension that is ``dim`` from the end."""
    rank = None if table.rank is None else table.rank - 1
    return replace(table, dim=table.dim + 1 if table.dim < dim else table.dim, rank=rank)


def one_of(call: Call, result: Value) -> Value:
    """``x.select(dim, index)``."""
    tensor, index = first_of(call), call.integer(2, "index")
    mark = mark_of(tensor)
    dim = from_the_end(call.integer(1, "dim"), rank_of(tensor) if isinstance(tensor, Tensor) else None)
    if isinstance(mark, Split) and dim == mark.pair and index in (0, 1):
        return marked(call, result, Part(mark.by, index))
    if isinstance(mark, RotaryTable) and dim is not None and dim != mark.dim and mark.pair is None:
        return marked(call, result, without_dim(mark, dim))
    return lost(call, result)


def in_part(call: Call, result: Value) -> Value:
    """``x.narrow(dim, start, length)`` of a table, along another dimension than that of the frequencies."""
    tensor = first_of(call)
    table = table_of(tensor)
    if table is None or not isinstance(tensor, Tensor):
        return lost(call, result)
    dim = from_the_end(call.integer(1, "dim"), rank_of(tensor))
    return marked(call, result, None if dim is None or dim in (table.dim, table.pair) else table)


def item_of(tables: Sequence, index: int) -> Value | None:
    """One of several tables that are handed over together; None for what is no table."""
    item = tables.items[index]
    return None if isinstance(item, Unknown) else item


# --- subscripts ------------------------------------------------------------------------------------------------------

_WHOLE = Slice(None, None)


def indexed(base: Value, indices: list[Value], result: Value, node: ast.expr, state: State) -> Value:
    """``x[..., ::2]`` and ``x[..., : d // 2]`` are parts of a vector; a table that is sliced elsewhere stays one."""
    if not isinstance(base, (Tensor, Unknown)) or not isinstance(result, Tensor):
        return result
    if isinstance(base, Unknown) and base.handed is not None:
        base = as_tensor(base) or base
    mark, rank = mark_of(base), rank_of(base) if isinstance(base, Tensor) else None
    made: Rotary | None
    if isinstance(mark, RotaryTable):
        made = _first_half(base, mark, indices, state) or _table_indexed(mark, rank, indices)
        made = phase_of(mark) if made is None else rows_taken(made, indices, node, state)
    elif isinstance(mark, Phase):
        made = mark
    elif isinstance(mark, Split):
        made = _part_of_split(mark, indices)
    elif isinstance(mark, (Rotated, Joined)) and all(index in (_WHOLE, NONE, Const(...)) for index in indices):
        made = mark
    else:
        made = _sliced(rank, indices, state)
    return result if made == result.rotary else replace(result, rotary=made)


def _first_half(base: Tensor | Unknown, table: RotaryTable, indices: list[Value], state: State) -> RotaryTable | None:
    """``cos[..., : cos.shape[-1] // 2]`` of a table that is laid out by halves has each angle once."""
    match indices:
        case [Const(value=value), Slice(start=start, stop=Int(size=stop), step=None)] if value is ...:
            starts = start in (None, NONE) or as_int(start) == 0
        case _:
            return None
    if not starts or table.laid is not Laid.HALVES or table.dim != -1 or table.pair is not None:
        return None
    width = base.last if isinstance(base, Tensor) else None
    if width is None and base.key is not None:
        width = symbol(dimension(base.key, -1))
    same = width is not None and state.normal(stop * constant(2)) == state.normal(width)
    return replace(table, laid=Laid.ONCE, by=None) if same else None


def _table_indexed(table: RotaryTable, rank: int | None, indices: list[Value]) -> RotaryTable | None:
    if table.pair is not None:
        return None
    if rank is None:
        return _table_indexed_open(table, indices)
    taken = sum(1 for index in indices if index not in (NONE, Const(...)))
    full: list[Value] = []
    for index in indices:
        full += [_WHOLE] * (rank - taken) if index == Const(...) else [index]
    full += [_WHOLE] * (rank - sum(1 for index in full if index != NONE))
    dim, at, dims, is_plain = 0, None, 0, True
    for index in full:
        if index != NONE and dim == rank + table.dim:
            some = isinstance(index, Slice) and table.laid is Laid.ONCE  # of different numbers
            if index != _WHOLE and not some:
                return None
            at = dims
        if index != NONE:
            dim += 1
        if index == NONE or isinstance(index, Slice):
            dims += 1
        elif not isinstance(index, Int):
            is_plain = False
            dims += 1
    return None if at is None else replace(table, dim=at - dims, rank=dims if is_plain else None)


def _table_indexed_open(table: RotaryTable, indices: list[Value]) -> RotaryTable | None:
    """Of a table of unknown rank: rows are taken, or dimensions are put in front of the last one."""
    if table.dim != -1:
        return None
    if indices and indices[0] == Const(...):
        between = all(index == NONE for index in indices[1:-1])
        return table if indices[-1] == _WHOLE and between else None
    taken = [index for index in indices if index != NONE]
    if table.stage < Stage.ANGLES or not all(isinstance(index, (Slice, Tensor, Unknown, Int)) for index in taken):
        return None
    if len(taken) < 2:
        return table  # positions stand in front of the angles
    before = taken[:-1] if indices[-1] == _WHOLE else taken
    anew = indices[-1] == NONE and len(taken) == 2  # a dimension for heads, behind batch and positions
    rows = indices[-1] == _WHOLE and all(isinstance(index, Slice) for index in before)
    return table if rows or (anew and all(index == _WHOLE for index in taken)) else None


def _part_of_split(split: Split, indices: list[Value]) -> Part | None:
    """``x[..., 0]`` of (…, d/2, 2), and ``x[..., 0, :]`` of (…, 2, d/2)."""
    behind = indices[split.pair + 1 :] if split.pair < -1 else []
    known = len(indices) > -split.pair and indices[0] == Const(...) and all(index == _WHOLE for index in behind)
    index = as_int(indices[split.pair]) if known else None
    return Part(split.by, index) if index in (0, 1) and index is not None else None


def _sliced(rank: int | None, indices: list[Value], state: State) -> Part | None:
    last = indices[-1] if len(indices) > 1 else None
    if not isinstance(last, Slice):
        return None
    before = indices[:-1]
    if not all(index in (_WHOLE, Const(...)) for index in before):
        return None
    if Const(...) not in before and len(indices) != rank and (rank is not None or len(indices) < 3):
        return None
    start, stop = (None if end in (None, NONE) else end for end in (last.start, last.stop))
    if last.step is not None:
        first = 0 if start is None else as_int(start)
        told = as_int(last.step) == 2 and stop is None and first in (0, 1)
        return Part(Laid.NEIGHBOURS, first) if told and first is not None else None
    if stop is not None and (start is None or as_int(start) == 0):
        return _half(0, stop, state)
    return _half(1, start, state) if start is not None and stop is None else None


def _half(index: int, bound: Value, state: State) -> Part | None:
    """One of the parts of a vector that is cut in two."""
    size = as_size(bound)
    if size is None or (size.constant is not None and size.constant < 0):
        return None
    return Part(Laid.HALVES, index, bound=state.normal(size))
