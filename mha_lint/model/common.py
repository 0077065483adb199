"""One state that knows what several states agree on, and the shapes that their tensors have in common."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from msgspec.structs import replace

from mha_lint.model.keys import Key, part
from mha_lint.model.layout import contiguous_strides
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import NOTHING, Const, Int, Number, Sequence, State, Tensor, Value

Known = TypeVar("Known", bound=Hashable)


def joined(states: list[State], at: Key | None = None) -> State:
    """One state that knows what all of them know.

    ``at`` names the place. The sizes that differ there get names of it: those that differ alike get the same one.
    """
    first = states[0].copy()
    names = _Names(at, states)
    first.variables = names.values([state.variables for state in states])
    first.attributes = names.values([state.attributes for state in states])
    for other in states[1:]:
        first.definitions = {n: size for n, size in first.definitions.items() if other.definitions.get(n) == size}
        first.ranks = {n: rank for n, rank in first.ranks.items() if other.ranks.get(n) == rank}
        first.agree(other)
        first.inference = first.inference and other.inference
    first.joined = True
    return first


class _Names:
    """Names for the sizes that differ between states."""

    def __init__(self, at: Key | None, states: list[State]) -> None:
        self._at, self._states = at, states
        self._given: dict[tuple[Size, ...], Size] = {}

    def values(self, held: list[dict[str, Value]]) -> dict[str, Value]:
        names = dict.fromkeys(name for each in held for name in each)
        return {name: self._value([each.get(name, NOTHING) for each in held]) for name in names}

    def _value(self, values: list[Value]) -> Value:
        first = values[0]
        if all(value == first for value in values):
            return first
        if self._at is None:
            return NOTHING
        tensors = [value for value in values if isinstance(value, Tensor)]
        if len(tensors) == len(values):
            return self._tensor(tensors)
        sizes = [value.size for value in values if isinstance(value, Int)]
        if len(sizes) == len(values) and all(size.constant is None or size.constant > 1 for size in sizes):
            return Int(self._size(sizes))
        if all(_is_number(value) for value in values):
            return Number()
        rows = [value.items for value in values if isinstance(value, Sequence)]
        if len(rows) == len(values) and len({len(row) for row in rows}) == 1:
            return Sequence(tuple(self._value(list(items)) for items in zip(*rows, strict=True)))
        return NOTHING

    def _size(self, sizes: list[Size]) -> Size:
        known = tuple(state.normal(size) for state, size in zip(self._states, sizes, strict=True))
        if len(set(known)) == 1:
            return known[0]
        if known not in self._given:
            assert self._at is not None
            self._given[known] = symbol(part(self._at, len(self._given)))
        return self._given[known]

    def _tensor(self, tensors: list[Tensor]) -> Value:
        """Return a tensor with what all of them have in common; NOTHING unless they agree in rank, roles and masks."""
        first = tensors[0]
        shapes = [tensor.shape for tensor in tensors if tensor.shape is not None]
        if len(shapes) < len(tensors) or len({len(shape) for shape in shapes}) > 1:
            return NOTHING
        if any(_to_attention(tensor) != _to_attention(first) for tensor in tensors):
            return NOTHING
        shape = tuple(self._size(list(sizes)) for sizes in zip(*shapes, strict=True))
        strides = None
        contiguous = all(tensor.contiguous for tensor in tensors)
        laid_out = {
            None if tensor.strides is None else tuple(map(state.normal, tensor.strides))
            for state, tensor in zip(self._states, tensors, strict=True)
        }
        if contiguous:
            strides = contiguous_strides(shape)
        elif len(laid_out) == 1:
            strides = laid_out.pop()
        return replace(
            first,
            shape=shape,
            strides=strides,
            contiguous=contiguous,
            uncopied=_same([tensor.uncopied for tensor in tensors]),
            assumed=any(tensor.assumed for tensor in tensors),
            key=_same([tensor.key for tensor in tensors]),
            batch=self._known([tensor.batch for tensor in tensors]),
            width=self._known([tensor.width for tensor in tensors]),
            scale=_same([tensor.scale for tensor in tensors]),
            reordered=_same([tensor.reordered for tensor in tensors]),
            folds=_same([tensor.folds for tensor in tensors]) or (),
            made=all(tensor.made for tensor in tensors),
            padded=any(tensor.padded for tensor in tensors),
            homes=_same([tensor.homes for tensor in tensors]) or (),
            single=all(tensor.single for tensor in tensors),
            rotary=first.rotary if all(tensor.rotary == first.rotary for tensor in tensors) else None,
            inputs=frozenset().union(*(tensor.inputs for tensor in tensors)),
        )

    def _known(self, sizes: list[Size | None]) -> Size | None:
        known = [size for size in sizes if size is not None]
        return self._size(known) if len(known) == len(sizes) else None


def _is_number(value: Value) -> bool:
    return isinstance(value, (Int, Number)) or (isinstance(value, Const) and isinstance(value.value, float))


def _to_attention(tensor: Tensor) -> tuple[object, ...]:
    return tensor.roles, tensor.merge, tensor.part, tensor.normalised, tensor.mask, tensor.masked


def _same(values: list[Known | None]) -> Known | None:
    """The value that all are; None where they differ."""
    return values[0] if all(value == values[0] for value in values) else None
