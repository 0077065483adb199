"""Where the positions of rotary tables begin, and new vectors behind earlier ones: slices of rows, and joins."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model.cached import Joined, Rotated
from mha_lint.model.layout import Shape
from mha_lint.model.operations.turns import from_the_end, mark_of, marked, rank_of, table_of
from mha_lint.model.rotary import Part, RotaryTable
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ZERO
from mha_lint.model.values import NONE, Const, Slice, State, Tensor, Unknown, Value, as_size
from mha_lint.syntax.nodes import argument
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import CACHED


def rows_taken(table: RotaryTable, indices: list[Value], node: ast.expr, state: State) -> RotaryTable:
    """``cos[:t]`` begins where the table does; ``cos[positions]`` where the positions do, if the table does at 0."""
    if not table.at_zero:
        return table
    counted = table.counted
    for index in indices:
        if isinstance(index, Slice):
            if not _from_the_front(index, state):
                return replace(table, at_zero=False, counted=None)
            counted = node if index.stop not in (None, NONE) else counted
        elif index not in (NONE, Const(...)):
            positions = table_of(index)
            if positions is None or not positions.at_zero:
                return replace(table, at_zero=False, counted=None)
            counted = positions.counted
    return replace(table, counted=counted)


def _from_the_front(index: Slice, state: State) -> bool:
    if index.start in (None, NONE):
        return True
    size = as_size(index.start)
    return size is not None and state.normal(size) == ZERO


def joined(call: Call, result: Value, mark: Rotated | Joined) -> Value:
    """The result of a join, whose role stays with what is made of it; it has a name, by which its halves are told."""
    told = marked(call, result, mark)
    if not isinstance(mark, Joined) or not isinstance(told, Tensor):
        return told
    if told.shape is None and told.key is None:
        told = replace(told, key=call.interpreter.key(call.node))
    return told.having("joined")


def joined_vectors(call: Call, items: list[Value]) -> Rotated | Joined | None:
    """New vectors behind those of a cache, or a vector of which one part was rotated and the other was not."""
    if len(items) < 2 or any(not isinstance(item, (Tensor, Unknown)) for item in items):
        return None
    marks = [mark_of(item) for item in items]
    if len(items) == 2 and _is_earlier(call, items[0]) and _is_new(items[1]):
        new = marks[1]
        return Joined(new if isinstance(new, Rotated) else None, call.node)
    rotated = [mark for mark in marks if isinstance(mark, Rotated)]
    if not rotated or any(mark != rotated[0] and not isinstance(mark, Part) for mark in marks if mark is not None):
        return None
    dim = call.integer(1, "dim", 0)
    first = items[0]
    at_the_end = from_the_end(dim, rank_of(first) if isinstance(first, Tensor) else None) == -1
    return rotated[0] if at_the_end else None


def _is_new(value: Value) -> bool:
    return isinstance(value, Tensor) and "projection" in value.roles and "joined" not in value.roles


def _is_earlier(call: Call, value: Value) -> bool:
    """Nothing is known of the tensor but its name, or that of what it is a part of: it is of earlier calls."""
    if isinstance(value, Tensor) and (value.roles - {"cached"} or value.rotary is not None):
        return False
    tensors = argument(call.node, 0, "tensors") if isinstance(call.node, ast.Call) else None
    if not isinstance(tensors, (ast.Tuple, ast.List)) or len(tensors.elts) != 2:
        return False
    key = value.key if isinstance(value, (Tensor, Unknown)) else None
    unpacked = None if key is None or key.owner is None else call.interpreter.node(key.owner)
    return names_said(CACHED, tensors.elts[0]) or (unpacked is not None and names_said(CACHED, unpacked))


def stands_behind(target: ast.Subscript, indices: list[Value], value: Tensor, state: State) -> bool:
    """Vectors are written behind others: ``self.k_cache[:, :, start : start + t] = k``."""
    shape = normal(value, state).shape
    if shape is None or not names_said(CACHED, target.value):
        return False
    return any(_is_behind(each, shape, state) for each in indices)


def _is_behind(index: Value, shape: Shape, state: State) -> bool:
    """As many rows as the vectors have tokens, from a place that is not known to be the first."""
    if not isinstance(index, Slice):
        return False
    start, stop = (state.normal(end) if end is not None else None for end in map(as_size, (index.start, index.stop)))
    if start is None or stop is None or start.constant is not None:
        return False
    return state.normal(stop - start) in map(state.normal, shape[1:])
