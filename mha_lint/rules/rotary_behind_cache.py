"""Rotary positions and a cache of keys that do not fit: what MHA119 asks of classes that keep keys."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import Enum, auto
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.model.cached import Joined, Rotated
from mha_lint.model.rotary import Rotary
from mha_lint.model.values import Sequence, State, Table, Tensor, Value
from mha_lint.syntax.nodes import Function
from mha_lint.vocabulary import EARLIER, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import ClassModel, FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places

_SCORES = frozenset({"scaled_dot_product_attention", "matmul", "bmm", "einsum"})


class Slip(Enum):
    """In which way positions and cache do not fit."""

    KEYS_FROM_ZERO = auto()  # new keys are rotated as if none were before them, and are put behind the cached ones
    QUERIES_FROM_ZERO = auto()  # so are the queries, while the keys are counted from the first of the cache
    AGAIN = auto()  # keys that were rotated before they were kept are rotated with the new ones


MESSAGES = {
    Slip.KEYS_FROM_ZERO: "the positions of the new keys begin at 0, although the keys of the cache stand before them",
    Slip.QUERIES_FROM_ZERO: "the positions of the queries begin at 0, and those of the keys at the first of the cache",
    Slip.AGAIN: "keys of the cache are rotated here once more: they were rotated before they were kept",
}


class BehindCache(Struct, frozen=True):
    """One slip: ``place`` is what is flagged, ``method`` the function that holds it, ``rotated`` the vectors.

    ``join`` is the call that puts the new keys behind the cached ones, or the subscript that they are written to.
    """

    slip: Slip
    place: ast.expr
    method: Function
    rotated: Rotated
    symbol: str
    join: ast.expr | None = None


def found_in(model: FileModel, places: Places) -> Iterator[BehindCache]:
    """Yield the slips of all classes, each place once."""
    told: set[ast.expr] = set()
    for each in model.classes:
        for slip in _of_class(each, model, places):
            if slip.place not in told:
                told.add(slip.place)
                yield slip


def _of_class(of: ClassModel, model: FileModel, places: Places) -> Iterator[BehindCache]:
    if not of.complete:
        return
    kept = [_kept(state, value) for state, value in of.returns]
    joins: dict[ast.expr, list[Joined]] = {}
    for mark in (tensor.rotary for path in kept for tensor in path):
        if isinstance(mark, Joined):
            joins.setdefault(mark.node, []).append(mark)
    for join, marks in joins.items():
        new = marks[0].new
        if new is not None and all(mark.new is not None and mark.new.at_zero for mark in marks):
            yield from _placed(Slip.KEYS_FROM_ZERO, new, of, model, places, join)
    symbols = {f"{info.name}.{name}" for info in of.cls.lineage for name in info.methods}
    for written in model.written.values():
        if all(each.rotated.at_zero and each.symbol in symbols for each in written):
            yield from _placed(Slip.KEYS_FROM_ZERO, written[0].rotated, of, model, places, written[0].node)
    again = [rotated for path in kept for rotated in _rotated_after(path)]
    for rotated in again:
        yield from _placed(Slip.AGAIN, rotated, of, model, places)
    if joins and not again:
        for rotated in _queries_from_zero(of, model):
            yield from _placed(Slip.QUERIES_FROM_ZERO, rotated, of, model, places, next(iter(joins)))


def _kept(state: State, value: Value) -> list[Tensor]:
    """Return what a call hands back, beside its result, and what it leaves in attributes for the next call."""
    found = list(_held(value)) if isinstance(value, Sequence) else []
    for name, held in state.attributes.items():
        if is_said(EARLIER, name):
            found += _held(held)
    return found


def _held(value: Value) -> Iterator[Tensor]:
    """The tensors in sequences and dictionaries."""
    match value:
        case Tensor():
            yield value
        case Sequence(items):
            for item in items:
                yield from _held(item)
        case Table(entries):
            for _, item in entries:
                yield from _held(item)


def _rotated_after(path: list[Tensor]) -> list[Rotated]:
    """The kept keys that were rotated together with those of the cache, unless the bare ones are kept as well."""
    bare = [tensor for tensor in path if isinstance(tensor.rotary, Joined)]
    if len(bare) > 1:
        return []
    return [each.rotary for each in path if isinstance(each.rotary, Rotated) and "joined" in each.roles]


def _queries_from_zero(of: ClassModel, model: FileModel) -> Iterator[Rotated]:
    """Queries that meet keys of the cache, on every path on which they do, at positions that begin at 0."""
    symbols = {f"{info.name}.{name}" for info in of.cls.lineage for name in info.methods}
    for seen in model.operations.values():
        meets = [each for each in seen if each.name in _SCORES and each.symbol in symbols and _meets_the_cache(each)]
        queries = [_marks(each)[0] for each in meets]
        if queries and all(isinstance(query, Rotated) and query.at_zero for query in queries):
            yield from (query for query in queries[:1] if isinstance(query, Rotated))


def _marks(seen: OperationSeen) -> list[Rotary | None]:
    """Return what the operands are to a rotary embedding: first the queries, then the keys."""
    return [each.rotary for each in seen.args if isinstance(each, Tensor)]


def _meets_the_cache(seen: OperationSeen) -> bool:
    """Tell whether the keys were joined to cached ones and then rotated, with positions that begin at 0."""
    operands = [each for each in seen.args if isinstance(each, Tensor)]
    if len(operands) < 2 or "joined" in operands[0].roles or "joined" not in operands[1].roles:
        return False
    keys = operands[1].rotary
    return isinstance(keys, Rotated) and keys.at_zero


def _placed(
    slip: Slip, rotated: Rotated, of: ClassModel, model: FileModel, places: Places, join: ast.expr | None = None
) -> Iterator[BehindCache]:
    """Yield the slip at its place in the class: where the keys are joined, or else in another method."""
    methods = {method for info in of.cls.lineage for name, method in info.methods.items() if name != "__init__"}
    first = () if slip is Slip.AGAIN or rotated.counted is None else (rotated.counted,)
    around = [
        (node, method)
        for node in (*first, *rotated.calls, rotated.node)
        if node not in model.abroad and (method := places.function(node)) is not None and method in methods
    ]
    beside = None if join is None or join in model.abroad else places.function(join)
    for node, method in sorted(around, key=lambda each: each[1] is not beside)[:1]:
        yield BehindCache(slip, node, method, rotated, model.defined_in.get(method, of.cls.name), join)
