"""Sizes and dimensions as calls give them."""

from __future__ import annotations

from mha_lint.model import layout
from mha_lint.model.keys import dimension
from mha_lint.model.layout import Shape
from mha_lint.model.run import Call
from mha_lint.model.sizes import Size, constant, equate, product, symbol
from mha_lint.model.values import (
    Const,
    Int,
    Leading,
    Qualified,
    Repeated,
    Sequence,
    ShapeOf,
    State,
    Tensor,
    Value,
    as_int,
    as_size,
)


def expanded(value: Value, state: State) -> Value:
    """Leading sizes one by one, once the rank of their tensor is known."""
    match value:
        case Leading(key, items) if key in state.ranks:
            dims = (Int(state.normal(symbol(dimension(key, dim)))) for dim in range(state.ranks[key] - 1))
            return Sequence((*dims, *items))
        case _:
            return value


def target_sizes(call: Call, values: tuple[Value, ...]) -> list[Size | None] | None:
    """Sizes from ``view(b, t, -1)`` or ``view((b, t, -1))``; an unknown size is None, an unknown rank is None."""
    if "*" in call.keywords or ("**" in call.keywords and not values):  # ``*window`` is any number of sizes
        return None
    values = tuple(expanded(value, call.state) for value in values)
    if len(values) == 1:
        match values[0]:
            case Sequence(items):
                values = items
            case Int():
                pass
            case _:
                return None
    sizes: list[Size | None] = []
    for value in values:
        if isinstance(value, (Sequence, Repeated, ShapeOf, Leading, Qualified)) or (
            isinstance(value, Const) and not isinstance(value.value, bool)
        ):
            return None
        size = as_size(value)
        sizes.append(None if size is None else call.state.normal(size))
    return sizes


def open_sizes(call: Call, values: tuple[Value, ...]) -> Leading | None:
    """``view(*x.shape[:-1], h, d)``, or one tuple of these, while the rank of ``x`` is not known."""
    if len(values) == 1 and isinstance(values[0], Sequence):
        values = values[0].items
    match values:
        case (Leading(key, items), *rest):
            return Leading(key, (*items, *rest))
        case _:
            return None


def solve(call: Call, source: Tensor, sizes: list[Size | None]) -> Shape:
    """The target shape with -1 solved; what can't be solved is a fresh symbol. Learns equal sizes on the way."""
    minus_one = constant(-1)
    total = None if source.shape is None else layout.numel(source.shape)
    holes = [index for index, size in enumerate(sizes) if size is None or size == minus_one]
    shape = [call.fresh_size(f"n{index}") if size is None or size == minus_one else size
             for index, size in enumerate(sizes)]  # fmt: skip
    if total is not None:
        known = product(size for index, size in enumerate(shape) if index not in holes)
        if len(holes) == 1:
            quotient = total.divide(known)
            if quotient is not None:
                shape[holes[0]] = quotient
        if len(holes) <= 1:
            equate(product(shape), total, call.state.definitions)
            shape = [call.state.normal(size) for size in shape]
    return tuple(shape)


def dims_argument(values: tuple[Value, ...]) -> list[int] | None:
    if len(values) == 1 and isinstance(values[0], Sequence):
        values = values[0].items
    dims = [as_int(value) for value in values]
    return None if any(dim is None for dim in dims) else [dim for dim in dims if dim is not None]
