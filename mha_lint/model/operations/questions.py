"""These operations answer what code asks of a tensor, or make tensors from sizes."""

from __future__ import annotations

from mha_lint.model import layout
from mha_lint.model.keys import dimension as dimension_of
from mha_lint.model.operations.arguments import target_sizes
from mha_lint.model.operations.telling import note_pooled
from mha_lint.model.run import Call
from mha_lint.model.sizes import ZERO, symbol
from mha_lint.model.values import (
    NOTHING,
    Int,
    Sequence,
    ShapeOf,
    Tensor,
    Unknown,
    Value,
    as_size,
    fresh,
    integer,
)


def size(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    if len(call.args) == 1 and not call.keywords:
        return shape_of(tensor)
    dim = call.integer(1, "dim")
    return NOTHING if dim is None else dimension(tensor, dim)


def shape_of(tensor: Tensor) -> Value:
    return ShapeOf(tensor) if tensor.shape is None else Sequence(tuple(map(Int, tensor.shape)))


def dimension(tensor: Tensor, dim: int) -> Value:
    if tensor.shape is not None:
        return Int(tensor.shape[dim]) if -len(tensor.shape) <= dim < len(tensor.shape) else NOTHING
    if -len(tensor.suffix) <= dim < 0:
        return Int(tensor.suffix[dim])
    return NOTHING if tensor.key is None else Int(symbol(dimension_of(tensor.key, dim)))


def dim(call: Call) -> Value:
    tensor = call.tensor()
    return NOTHING if tensor is None or tensor.rank is None else integer(tensor.rank)


def numel(call: Call) -> Value:
    tensor = call.tensor()
    return NOTHING if tensor is None or tensor.shape is None else Int(layout.numel(tensor.shape))


def filled(call: Call) -> Value:
    values = call.args
    if (isinstance(values[0], Tensor) if values else False) or call.interpreter.is_method(call.node):
        values = values[1:]
    if values and isinstance(values[0], Sequence):
        values = values[:1]
    sizes = target_sizes(call, values) if values else None
    if sizes is None:
        return Tensor(contiguous=True, key=call.interpreter.key(call.node), made=True)
    shape = tuple(call.fresh_size(f"n{i}") if size is None else size for i, size in enumerate(sizes))
    return fresh(shape, made=True)


def pooled(call: Call) -> Value:
    """A mean, whose shape nobody has asked for so far; over one dimension of a sequence, it is over its tokens."""
    note_pooled(call, call.tensor(0, "input"), call.integer(1, "dim"))
    return Tensor()


def somehow(call: Call) -> Value:
    """Operations whose result's shape nobody has asked for so far."""
    return Tensor()


def eye(call: Call) -> Value:
    sizes = [as_size(value) for value in call.args[:2]]
    shape = tuple(call.fresh_size("n") if size is None else size for size in (sizes * 2)[:2])
    return fresh(shape, made=True) if shape else NOTHING


def square(call: Call) -> Value:
    """``nn.Transformer.generate_square_subsequent_mask(t)``."""
    size = as_size(call.args[0] if call.args else call.keywords.get("sz"))
    return NOTHING if size is None else fresh((size, size), made=True)


def arange(call: Call) -> Value:
    key = call.interpreter.key(call.node)
    ends = [as_size(value) for value in call.args[:2]]
    from_zero = len(call.args) == 1 or (len(call.args) == 2 and ends[0] == ZERO)
    if from_zero and "end" not in call.keywords and ends[-1] is not None:
        call.interpreter.axes.counts(dimension_of(key, 0), ends[-1])
    return Unknown(key)
