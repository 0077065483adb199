"""How rotary tables are laid out, and vectors put together: what joins, repeats and views do to them."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model.cached import Joined, Rotated
from mha_lint.model.operations import turn_joins
from mha_lint.model.operations.arguments import expanded
from mha_lint.model.operations.turns import first_of, from_the_end, lost, mark_of, marked, rank_of, table_of, through
from mha_lint.model.rotary import Laid, Part, Rotary, RotaryTable, Split, Stacked, Stage, Turned
from mha_lint.model.run import Call
from mha_lint.model.values import (
    Leading,
    Repeated,
    Sequence,
    ShapeOf,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
)
from mha_lint.syntax.nodes import argument


def _items(call: Call) -> list[Value]:
    value = call.args[0] if call.args else call.keywords.get("tensors")
    items = value.items if isinstance(value, Sequence) else ()
    return [(as_tensor(item) if isinstance(item, Unknown) else None) or item for item in items]


def _are_one(call: Call) -> bool:
    """Two tensors that are joined are one: the code writes the same twice."""
    node = call.node
    match argument(node, 0, "tensors") if isinstance(node, ast.Call) else None:
        case ast.Tuple(elts=[first, second]) | ast.List(elts=[first, second]):
            return call.interpreter.text(first) == call.interpreter.text(second)
        case ast.BinOp(left=ast.Tuple(elts=[_]) | ast.List(elts=[_]), op=ast.Mult()):
            return True  # ``(f,) * 2``
        case _:
            return False


def joined(call: Call, result: Value) -> Value:
    """``torch.cat((f, f), -1)`` lays a table out by halves, ``torch.cat((-x2, x1), -1)`` turns a vector."""
    items = _items(call)
    vectors = turn_joins.joined_vectors(call, items)
    if vectors is not None:
        return turn_joins.joined(call, result, vectors)
    if len(items) < 2 or mark_of(items[0]) is None or not isinstance(items[0], Tensor):
        return lost(call, result)
    marks = [mark_of(item) for item in items]
    if any(mark is None for mark in marks):
        return lost(call, result)
    dim = from_the_end(call.integer(1, "dim", 0) if "axis" not in call.keywords else call.integer(1, "axis"),
                       rank_of(items[0]))  # fmt: skip
    if dim == -1 and _quarter_turn(marks) is Laid.HALVES:
        return marked(call, result, Turned(Laid.HALVES, call.node))
    table = marks[0]
    if not isinstance(table, RotaryTable) or table.pair is not None or any(mark != table for mark in marks):
        return lost(call, result)
    if dim != table.dim:
        return lost(call, result) if dim is None else marked(call, result, table)
    if table.laid is Laid.ONCE and len(marks) == 2 and _are_one(call):
        return marked(call, result, replace(table, laid=Laid.HALVES, by=call.node))
    return marked(call, result, table if table.laid is not Laid.HALVES and not _are_one(call) else None)


def _quarter_turn(marks: list[Rotary | None]) -> Laid | None:
    """In which way two parts were taken, if they stand in place of one another, one of them negated."""
    match marks:
        case [Part(by, 1, one, cut), Part(other, 0, two, bound)] if by is other and one is not two and cut == bound:
            return by
        case _:
            return None


def stacked(call: Call, result: Value) -> Value:
    """``torch.stack((f, f), -1)``, ``torch.stack((-x2, x1), -1)``, which are flattened afterwards."""
    items = _items(call)
    marks = [mark_of(item) for item in items]
    if len(marks) != 2 or not isinstance(items[0], Tensor):
        return lost(call, result)
    if isinstance(marks[0], Joined) or all(isinstance(mark, Rotated) for mark in marks):
        return marked(call, result, marks[0])  # keys and values, or the parts of a vector
    rank = rank_of(items[0])
    dim = from_the_end(call.integer(1, "dim", 0), None if rank is None else rank + 1)
    by = _quarter_turn(marks)
    if by is not None:
        told = (by, dim) in ((Laid.NEIGHBOURS, -1), (Laid.HALVES, -2))
        return marked(call, result, Stacked(by, dim) if told and dim is not None else None)
    table = marks[0]
    if not isinstance(table, RotaryTable) or table != marks[1] or dim is None or table.pair is not None:
        return lost(call, result)
    wider = unsqueezed_table(table, dim)
    if _are_one(call) and table.laid is Laid.ONCE:
        beside = dim in (wider.dim + 1, wider.dim - 1)
        return marked(call, result, replace(wider, pair=dim) if beside else None)
    return marked(call, result, wider)


def unsqueezed_table(table: RotaryTable, dim: int) -> RotaryTable:
    """The table with one more dimension, which is ``dim`` from the end."""
    rank = None if table.rank is None else table.rank + 1
    return replace(table, dim=table.dim - 1 if table.dim <= dim else table.dim, rank=rank)


@through
def unsqueezed(call: Call, result: Value) -> Value:
    table, tensor = table_of(first_of(call)), first_of(call)
    if table is None or not isinstance(tensor, Tensor):
        return lost(call, result)
    rank, written = rank_of(tensor), call.integer(1, "dim")
    if rank is None and written in (0, 1, 2) and table.stage >= Stage.ANGLES and table.dim == -1:
        return marked(call, result, table)  # positions stand in front of the angles
    dim = from_the_end(written, None if rank is None else rank + 1)
    return marked(call, result, None if dim is None or table.pair is not None else unsqueezed_table(table, dim))


@through
def squeezed(call: Call, result: Value) -> Value:
    """``cos.squeeze(0)``: a dimension in front of the last one may go."""
    table, tensor = table_of(first_of(call)), first_of(call)
    if table is None or not isinstance(tensor, Tensor):
        return lost(call, result)
    written, rank = call.integer(1, "dim"), rank_of(tensor)
    dim = written if rank is None and written is not None and written < 0 else from_the_end(written, rank)
    in_front = dim is not None and dim < -1
    if rank is None and written in (0, 1):
        in_front = table.stage >= Stage.ANGLES  # where batch and positions stand
    stays = in_front and table.dim == -1 and table.pair is None
    return marked(call, result, replace(table, rank=None) if stays else None)


@through
def interleaved(call: Call, result: Value) -> Value:
    """``f.repeat_interleave(2, dim=-1)`` lays a table out by neighbours."""
    table, tensor = table_of(first_of(call)), first_of(call)
    if table is None or not isinstance(tensor, Tensor) or table.pair is not None:
        return lost(call, result)
    dim = from_the_end(call.integer(2, "dim"), rank_of(tensor))
    if dim is None and table.rank == 1:
        dim = -1  # of a vector, the only one
    if dim != table.dim:
        return lost(call, result) if dim is None else marked(call, result, table)
    twice = call.integer(1, "repeats") == 2 and table.laid is Laid.ONCE
    return marked(call, result, replace(table, laid=Laid.NEIGHBOURS, by=call.node) if twice else None)


def repeated(call: Call, result: Value) -> Value:
    """``f.repeat(1, 2)`` lays a table out by halves; ``f[..., None].repeat(1, 1, 2)`` is flattened afterwards."""
    table = table_of(first_of(call))
    counts = [] if table is None else list(map(as_int, _targets(call) or ()))
    if table is None or table.pair is not None or len(counts) < -table.dim or table.laid is not Laid.ONCE:
        return lost(call, result)
    table = replace(table, rank=len(counts))
    if table.dim == -2 and counts[-1] == 2 and counts[-2] == 1:
        return marked(call, result, replace(table, pair=-1))
    times_along = counts[table.dim]
    if times_along == 2:
        return marked(call, result, replace(table, laid=Laid.HALVES, by=call.node))
    return marked(call, result, table if times_along == 1 else None)


@through
def spread(call: Call, result: Value) -> Value:
    """``f.expand(…)``."""
    table = table_of(first_of(call))
    sizes = None if table is None else _targets(call)
    if table is None or sizes is None:
        return lost(call, result)
    table = replace(table, rank=len(sizes))
    doubles = table.dim == -2 and table.pair is None and as_int(sizes[-1]) == 2 and table.laid is Laid.ONCE
    return marked(call, result, replace(table, pair=-1) if doubles else table)


@through
def spread_as(call: Call, result: Value) -> Value:
    table = table_of(first_of(call))
    return marked(call, result, None if table is None else replace(table, rank=None))


def _targets(call: Call) -> list[Value] | None:
    """The sizes that a call is given, one by one; None where it is not known how many there are."""
    given = call.args[1:]
    if not given:
        given = tuple(value for name, value in call.keywords.items() if name in ("size", "shape", "repeats", "dims"))
    sizes: list[Value] = []
    for value in given:
        known = expanded(value, call.state)
        if isinstance(known, Sequence):
            sizes += known.items
        elif isinstance(known, (Leading, ShapeOf, Repeated)):
            return None
        else:
            sizes.append(known)
    return sizes


@through
def viewed(call: Call, result: Value) -> Value:
    """A view takes a vector apart, (…, d/2, 2), or merges what was stacked."""
    tensor = first_of(call)
    mark = mark_of(tensor)
    if not isinstance(mark, (Stacked, RotaryTable)) and not _says_two(call):
        return lost(call, result)
    sizes, last = _targets(call), _last_target(call)
    if isinstance(mark, Stacked):
        return marked(call, result, None if as_int(last) == 2 else Turned(mark.by, call.node))
    if isinstance(mark, RotaryTable):
        return marked(call, result, _table_viewed(call, mark, tensor, sizes, last))
    if as_int(last) == 2 and (sizes is None or len(sizes) > 2):
        return marked(call, result, Split(Laid.NEIGHBOURS, -1))
    if sizes is not None and len(sizes) > 2 and as_int(sizes[-2]) == 2:
        return marked(call, result, Split(Laid.HALVES, -2))
    return lost(call, result)


def _says_two(call: Call) -> bool:
    """One of the sizes that a view is given is 2."""
    for value in (*call.args[1:], *call.keywords.values()):
        items = value.items if isinstance(value, (Sequence, Leading)) else (value,)
        if any(as_int(item) == 2 for item in items):
            return True
    return False


def _last_target(call: Call) -> Value | None:
    """The last of the sizes that a view is given."""
    values = call.args[1:] or tuple(call.keywords.values())
    last = expanded(values[-1], call.state) if values else None
    if isinstance(last, (Sequence, Leading)):
        return last.items[-1] if last.items else None
    return last


def _table_viewed(
    call: Call, table: RotaryTable, tensor: Value | None, sizes: list[Value] | None, last: Value | None
) -> RotaryTable | None:
    if table.pair is not None:
        fewer = table.rank is None or sizes is None or len(sizes) == table.rank - 1
        return merged_table(table, call.node) if fewer and {table.dim, table.pair} == {-1, -2} else None
    width, size = tensor.last if isinstance(tensor, Tensor) else None, as_size(last)
    if table.dim != -1 or width is None or size is None:
        return None
    same = call.state.normal(size) == call.state.normal(width)
    return replace(table, rank=None if sizes is None else len(sizes)) if same else None


def merged_table(table: RotaryTable, node: ast.expr) -> RotaryTable:
    """The dimension along which each angle stands twice becomes one with that of the angles."""
    laid = Laid.NEIGHBOURS if table.pair == -1 else Laid.HALVES
    rank = None if table.rank is None else table.rank - 1
    return replace(table, dim=-1, rank=rank, laid=laid, by=node, pair=None)


@through
def flattened(call: Call, result: Value) -> Value:
    tensor = first_of(call)
    mark = mark_of(tensor)
    if not isinstance(tensor, Tensor) or not isinstance(mark, (Stacked, RotaryTable)):
        return lost(call, result)
    rank = rank_of(tensor)
    start = from_the_end(call.integer(1, "start_dim", 0), rank)
    end = from_the_end(call.integer(2, "end_dim", -1), rank)
    if isinstance(mark, Stacked):
        to_the_end = end == -1 and (start == -2 or (start is None and "start_dim" not in call.keywords))
        return marked(call, result, Turned(mark.by, call.node) if to_the_end or _from_front(call) else None)
    if mark.pair is not None and (start, end) == (-2, -1) and {mark.dim, mark.pair} == {-1, -2}:
        return marked(call, result, merged_table(mark, call.node))
    before = mark.pair is None and end is not None and end < mark.dim
    return marked(call, result, replace(mark, rank=None) if before else None)


def _from_front(call: Call) -> bool:
    """``torch.flatten(x, 3)`` of what has four dimensions, and the pairs: rotations are written for one rank."""
    start = call.integer(1, "start_dim", 0)
    return start is not None and start >= 2


@through
def taken_apart(call: Call, result: Value) -> Value:
    """``x.unflatten(-1, (-1, 2))``."""
    if not _says_two(call):
        return lost(call, result)
    tensor = first_of(call)
    sizes = call.args[2] if len(call.args) > 2 else call.keywords.get("sizes")
    dim = from_the_end(call.integer(1, "dim"), rank_of(tensor) if isinstance(tensor, Tensor) else None)
    if dim != -1 or not isinstance(sizes, Sequence) or len(sizes.items) != 2:
        return lost(call, result)
    first, second = map(as_int, sizes.items)
    if (first == 2) == (second == 2):
        return lost(call, result)
    return marked(call, result, Split(Laid.NEIGHBOURS, -1) if second == 2 else Split(Laid.HALVES, -2))


@through
def swapped(call: Call, result: Value) -> Value:
    """``x.transpose(i, j)``."""
    tensor = first_of(call)
    table = table_of(tensor)
    if table is None or table.pair is not None or not isinstance(tensor, Tensor):
        return lost(call, result)
    given = [call.integer(1, "dim0"), call.integer(2, "dim1")]
    first, second = (from_the_end(dim, rank_of(tensor)) for dim in given)
    if first is None or second is None:
        return lost(call, result)
    return marked(call, result, replace(table, dim={first: second, second: first}.get(table.dim, table.dim)))


@through
def swapped_last(call: Call, result: Value) -> Value:
    """``x.mT``."""
    table = table_of(first_of(call))
    if table is None or table.pair is not None:
        return lost(call, result)
    return marked(call, result, replace(table, dim={-1: -2, -2: -1}.get(table.dim, table.dim)))


@through
def reordered(call: Call, result: Value) -> Value:
    """``x.permute(…)``."""
    table = table_of(first_of(call))
    order = None if table is None else _targets(call)
    dims = None if order is None else list(map(as_int, order))
    if table is None or table.pair is not None or not dims or any(dim is None for dim in dims):
        return lost(call, result)
    known = [dim - len(dims) if dim >= 0 else dim for dim in dims if dim is not None]
    if table.dim not in known:
        return lost(call, result)
    return marked(call, result, replace(table, dim=known.index(table.dim) - len(known), rank=len(known)))
