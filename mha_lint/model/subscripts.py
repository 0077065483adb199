"""Subscripts: items of sequences, indexing and slicing of tensors."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model import kernels, keys, masking, masks, operations, tables
from mha_lint.model.axes import Role, Source, size_at
from mha_lint.model.keys import Key
from mha_lint.model.operations import turn_parts
from mha_lint.model.run import Run, normal
from mha_lint.model.sizes import ONE, Size, constant, divided, symbol
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Int,
    Lead,
    Leading,
    Qualified,
    Repeated,
    Sequence,
    ShapeOf,
    Slice,
    State,
    Table,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
    integer,
)
from mha_lint.syntax import nodes
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import ALLOCATED


def subscript(run: Run, node: ast.Subscript, state: State) -> Value:
    base = run.evaluate(node.value, state)
    indices = [index_value(run, item, state) for item in nodes.indices(node)]
    taken = masks.indexed(run, base, indices, _item(run, masking.bare(base), indices, node, state), node)
    return turn_parts.indexed(base, indices, taken, node, state)


def _item(run: Run, base: Value, indices: list[Value], node: ast.Subscript, state: State) -> Value:
    if isinstance(base, ShapeOf):
        base = operations.shape_of(normal(as_tensor(base.tensor) or Tensor(), state))
    elif isinstance(base, Leading):
        base = operations.expanded(base, state)
    match base, indices:
        case Sequence(items), [Int(size)] if size.constant is not None:
            at = size.constant
            return items[at] if -len(items) <= at < len(items) else NOTHING
        case Sequence(items), [Slice() as part]:
            bounds = [None if end is None else as_int(end) for end in (part.start, part.stop, part.step)]
            known = all(end is None or number is not None
                        for end, number in zip((part.start, part.stop, part.step), bounds, strict=True))  # fmt: skip
            return Sequence(items[slice(*bounds)]) if known else NOTHING
        case Repeated(item, _), [Slice()]:
            return Repeated(item)
        case Repeated(item, _), [_]:
            return item
        case Qualified(name), [_]:
            return kernels.entry(name) or Unknown(run.key(node))
        case Table(), [key]:
            return tables.looked_up(run, base, key, node, state)
        case ShapeOf(tensor), [Int(size)] if size.constant is not None:
            known_tensor = as_tensor(tensor)
            assert known_tensor is not None
            return operations.dimension(known_tensor, size.constant)
        case ShapeOf(tensor), [Slice(None, Int(size), None)] if size.constant is not None and size.constant < 0:
            return _leading(run, as_tensor(tensor), -size.constant, node)
        case Leading(key, items), [Int(size)] if size.constant is not None and size.constant < 0:
            return items[size.constant] if len(items) >= -size.constant else Unknown(run.key(node))
        case Leading(key), [Int(size)] if size.constant is not None:
            return Int(symbol(keys.dimension(key, size.constant)))
        case Unknown(Key() as key, Sequence() as several), [Int(size)] if _is_index(size, several.items):
            assert size.constant is not None
            return Unknown(keys.item(key, str(size)), turn_parts.item_of(several, size.constant))
        case Unknown(key, Repeated(item)), [_]:
            return Unknown(run.key(node), item)
        case Unknown(key, Tensor()), _:
            return indexed(run, normal(as_tensor(base) or Tensor(), state), indices, node, state)
        case Unknown(Key() as key), [Const(str(name))]:
            return Unknown(keys.entry(key, name))
        case Unknown(Key() as key), [Int(size)]:
            return Unknown(keys.item(key, str(size), size.symbols))
        case Unknown(Key() as key), [Unknown(Key() as index)]:
            return Unknown(keys.item(key, str(index), frozenset({index})))
        case Unknown(), [Slice(step=Int(size))] if size.constant is not None and size.constant < 0:
            return Unknown(run.key(node))  # a list: tensors have no negative steps
        case ((Tensor() | Unknown()), _):
            indexable = as_tensor(base)
            assert indexable is not None
            taken = indexed(run, normal(indexable, state), indices, node, state)
            if isinstance(taken, Tensor) and _is_filled_part(node, indices):
                return taken.having("cached")
            return taken
        case _:
            return Unknown(run.key(node))


def _is_index(size: Size, items: tuple[Value, ...]) -> bool:
    return size.constant is not None and -len(items) <= size.constant < len(items)


def _is_filled_part(node: ast.Subscript, indices: list[Value]) -> bool:
    """Tell whether this is the filled part of a preallocated cache: ``self.k_cache[:b, : start + t]``."""
    cuts = any(isinstance(index, Slice) and index.stop is not None for index in indices)
    return cuts and names_said(ALLOCATED, node.value)


def _leading(run: Run, tensor: Tensor | None, left_out: int, node: ast.Subscript) -> Value:
    """``x.shape[:-1]`` of a tensor of unknown rank."""
    match tensor:
        case Tensor(lead=Lead(key, 1, ()), suffix=suffix) if len(suffix) >= left_out:
            return Leading(key, tuple(map(Int, suffix[: len(suffix) - left_out])))
        case Tensor(key=Key() as key, lead=None) if left_out == 1:
            return Leading(key)
        case _:
            return Unknown(run.key(node))


def index_value(run: Run, node: ast.expr, state: State) -> Value:
    """The value of one index of a subscript."""
    if not isinstance(node, ast.Slice):
        return run.evaluate(node, state)
    ends = [None if end is None else run.evaluate(end, state) for end in (node.lower, node.upper, node.step)]
    return Slice(*ends)


def indexed(run: Run, tensor: Tensor, indices: list[Value], node: ast.expr, state: State) -> Value:
    """Basic indexing: integers select, slices cut, None inserts, an ellipsis fills."""
    plain = Tensor(key=run.key(node), roles=tensor.roles, merge=tensor.merge, part=tensor.part)
    plain = replace(plain, homes=tensor.homes, scale=tensor.scale)
    _note_axes(run, tensor, indices, node)
    if tensor.shape is None:
        if indices in ([NONE], [Slice(None, None), NONE]):
            run.axes.inserted(run.key(node), tensor, len(indices) - 1)
        return _indexed_open(run, tensor, indices, node, state) or plain
    taken = sum(1 for index in indices if index not in (NONE, Const(...)))
    if taken > len(tensor.shape):
        return plain
    full: list[Value] = []
    for index in indices:
        full += [Slice(None, None)] * (len(tensor.shape) - taken) if index == Const(...) else [index]
    dim = 0
    for index in full:
        match index:
            case Const(None):
                tensor = operations.inserted(tensor, dim)
                dim += 1
            case Int():
                tensor = operations.without(tensor, dim)
            case Unknown(Key() as key) if _counts(run, key):
                tensor = operations.without(tensor, dim)
            case Slice(start, stop, step):
                assert tensor.shape is not None
                feature = dim == len(tensor.shape) - 1 and tensor.scale is not None and tensor.scale.product is None
                cut = _cut(run, tensor.shape[dim], start, stop, step, node, state, within=feature)
                if cut is None:
                    return plain
                tensor = operations.resized(tensor, dim, cut)
                if step is not None and tensor.strides is not None:
                    pace = as_size(step)
                    strides = None if pace is None else (
                        *tensor.strides[:dim], tensor.strides[dim] * pace, *tensor.strides[dim + 1 :])  # fmt: skip
                    tensor = replace(tensor, strides=strides, contiguous=False)
                dim += 1
            case _:
                return plain
    return tensor


def _note_axes(run: Run, tensor: Tensor, indices: list[Value], node: ast.expr) -> None:
    """``x[:, 0]`` takes out a token, ``x[:, 1:]`` leaves one out; ``self.table[:, :t]`` is cut to the tokens."""
    known = tensor.rank == 3 or (tensor.rank is None and "projected" in tensor.roles)
    for dim, index in enumerate(indices[:2]):
        match index:
            case Int(size) if known and size.constant in (0, -1):
                run.axes.tell(size_at(tensor, dim), Role.TOKENS, Source.PICKED)
            case Slice(Int(start), None, None) if known and start.constant == 1 and len(indices) < 4:
                run.axes.tell(size_at(tensor, dim), Role.TOKENS, Source.PICKED)
            case Slice(None, Int(stop), None) if _is_table(tensor):
                run.axes.tell(stop, Role.TOKENS, Source.TABLE)
                run.axes.counts(keys.cut(run.key(node)), stop)
        if not _is_whole(index):
            break


def _is_table(tensor: Tensor) -> bool:
    return "parameter" in tensor.roles or (tensor.key is not None and tensor.key.of_self)


def _is_whole(index: Value) -> bool:
    return index == Slice(None, None)


def _counts(run: Run, key: Key) -> bool:
    """The key names the number of a turn of a loop: what ``range`` or ``enumerate`` gives."""
    node = run.node(key)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("range", "enumerate")


def _indexed_open(run: Run, tensor: Tensor, indices: list[Value], node: ast.expr, state: State) -> Tensor | None:
    """``x[..., 0, :]`` of a tensor of unknown rank: what stands behind the ellipsis counts from the end.

    ``x[0]`` takes one of what stands in front.
    """
    lead = tensor.lead
    if lead is not None and lead.front and len(indices) == 1 and isinstance(indices[0], Int):
        return replace(tensor, lead=replace(lead, front=lead.front[1:]), key=run.key(node), contiguous=False)
    if len(indices) < 2 or indices[0] != Const(...) or Const(...) in indices[1:]:
        return None
    taken = sum(1 for index in indices[1:] if index != NONE)
    known = operations.opened(tensor, max(taken, 1))
    if known is None:
        return None
    scale = replace(known, shape=known.suffix, strides=None, contiguous=False, normalised=None)
    kept: list[Value] = [Slice(None, None)] * (len(known.suffix) - taken)
    cut = indexed(run, scale, [*kept, *indices[1:]], node, state)
    if not isinstance(cut, Tensor) or not cut.shape:
        return None
    return replace(cut, shape=None, suffix=cut.shape, lead=known.lead, contiguous=False, key=run.key(node))


def _cut(
    run: Run, whole: Size, start: Value | None, stop: Value | None, step: Value | None,
    node: ast.expr, state: State, *, within: bool,
) -> Size | None:  # fmt: skip
    """The size of ``[start:stop:step]`` of a dimension of size ``whole``; a new symbol where it depends.

    The ends lie ``within`` the dimension where it holds the features of a head, which code never cuts past its end.
    """
    if start is None and stop is None and step is None:
        return whole
    first = ONE - ONE if start is None else as_size(start)
    last = whole if stop is None else as_size(stop)
    if within and as_int(step) == 2 and last == whole and start in (None, integer(0), integer(1)):
        return divided(whole, constant(2), state.definitions)
    if step is not None or first is None or last is None:
        return symbol(keys.cut(run.key(node)))
    first, last = state.normal(first), state.normal(last)
    first, last = _from_the_front(first, whole), _from_the_front(last, whole)
    if last - first == ONE:  # x[:, i : i + 1] keeps the dimension of the one that it takes
        return ONE
    if (
        last != whole
        and not within
        and not (whole.constant is not None and last.constant is not None and last.constant <= whole.constant)
    ):
        # x[:, :n] may take all there is: the size is n at most.
        if stop is not None and (whole - last).sign() == 1:
            return last - first
        return symbol(keys.cut(run.key(node)))
    return last - first


def _from_the_front(end: Size, whole: Size) -> Size:
    """An end that is surely negative counts from the back: ``x[:-n]``, as ``x[:-1]`` does."""
    return whole + end if end.sign() == -1 else end
