"""Operations that move dimensions: the strides move with them."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model import folds, layout
from mha_lint.model.layout import Answer, place
from mha_lint.model.operations.arguments import (
    dims_argument,
)
from mha_lint.model.operations.open import exchanged, moved, swapped
from mha_lint.model.operations.telling import (
    note_turned,
)
from mha_lint.model.run import Call
from mha_lint.model.values import (
    NOTHING,
    Sequence,
    Tensor,
    Value,
    fresh,
    of_shape,
)


def permuted(call: Call, tensor: Tensor, order: list[int]) -> Tensor:
    if tensor.shape is None or len(order) != len(tensor.shape):
        key = call.interpreter.key(call.node)
        return replace(
            tensor, shape=None, strides=None, contiguous=False, suffix=(), lead=None, key=key, normalised=None, folds=()
        )
    shape = tuple(tensor.shape[dim] for dim in order)
    if tensor.normalised is not None:
        at = order.index(tensor.normalised.dim % len(order)) - len(order)
        tensor = tensor.normalised_at(at if tensor.normalised.parts == 1 else None)
    strides = None if tensor.strides is None else tuple(tensor.strides[dim] for dim in order)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    of_math = None if tensor.of_math is None else tuple(tensor.of_math[dim] for dim in order)
    there = folds.moved(tensor.folds, order)
    return replace(
        tensor, shape=shape, strides=strides, contiguous=contiguous, key=None, of_math=of_math, uncopied=None,
        reordered=None, folds=there,
    )  # fmt: skip


def transpose(call: Call) -> Value:
    """Two dimensions change places. An array of numpy is given all of them, in their new order."""
    if len(call.args) > 3 or (len(call.args) == 2 and isinstance(call.args[1], Sequence)):
        return permute(call)
    tensor = call.tensor(0, "input")
    first, second = call.integer(1, "dim0"), call.integer(2, "dim1")
    first = first if first is not None else call.integer(1, "axis0")
    second = second if second is not None else call.integer(2, "axis1")
    if tensor is None:
        return NOTHING
    if tensor.shape is None and len(tensor.suffix) == 2 and {first, second} == {1, 2}:
        # Heads that were just split off move across the tokens: (b, t, h, d) -> (b, h, t, d).
        tensor = call.interpreter.refine(call.state, tensor, 4)
        if tensor.shape is None:
            shape = (call.fresh_size("b"), call.fresh_size("t"), *tensor.suffix)
            tensor = (fresh if tensor.contiguous else of_shape)(shape, roles=tensor.roles, scale=tensor.scale)
    if tensor.shape is None and first is not None and second is not None:
        result = swapped(call, tensor, first, second)
        if result is not None:
            return result
    if tensor.shape is None and first is not None and second is not None:
        # Two that are counted alike change places whatever the rank is, which is large enough for both.
        note_turned(call, tensor, first, second)
        least = max(tensor.least, first + 1, second + 1)
        moved = replace(permuted(call, tensor, []), least=least)
        at = exchanged(tensor, first, second)
        return moved if at is None else replace(moved, normalised=tensor.normalised_at(at).normalised)
    if tensor.shape is None or first is None or second is None:
        return permuted(call, tensor, [])
    rank = len(tensor.shape)
    if not (-rank <= first < rank and -rank <= second < rank):
        return NOTHING
    order = list(range(rank))
    order[first % rank], order[second % rank] = second % rank, first % rank
    return permuted(call, tensor, order)


def permute(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    dims = dims_argument(call.args[1:] or tuple(v for n, v in call.keywords.items() if n == "dims"))
    if tensor is None or not dims:
        return NOTHING if tensor is None else permuted(call, tensor, [])
    if tensor.shape is None:
        tensor = call.interpreter.refine(call.state, tensor, len(dims))
    if tensor.shape is None or sorted(dim % len(dims) for dim in dims) != list(range(len(tensor.shape))):
        return permuted(call, tensor, [])
    return permuted(call, tensor, [dim % len(dims) for dim in dims])


def movedim(call: Call) -> Value:
    tensor, source, target = call.tensor(), call.integer(1, "source"), call.integer(2, "destination")
    if tensor is None or tensor.shape is None or source is None or target is None:
        return NOTHING if tensor is None else _moved_open(call, tensor, source, target)
    rank = len(tensor.shape)
    source, target = place(source, rank), place(target, rank)
    order = [dim for dim in range(rank) if dim != source]
    order.insert(target, source)
    return permuted(call, tensor, order)


def _moved_open(call: Call, tensor: Tensor, source: int | None, target: int | None) -> Tensor:
    found = None if source is None or target is None else moved(call, tensor, source, target)
    return permuted(call, tensor, []) if found is None else found


def matrix_transpose(call: Call) -> Value:
    """``.mT`` and ``.t()``: the last two dimensions change places."""
    tensor = call.tensor()
    if tensor is None or tensor.shape is None:
        return NOTHING if tensor is None else swapped(call, tensor, -2, -1) or permuted(call, tensor, [])
    order = list(range(len(tensor.shape)))
    return permuted(call, tensor, [*order[:-2], *order[-2:][::-1]])


def reversed_dims(call: Call) -> Value:
    """``.T`` reverses all dimensions, which for a matrix is the same as ``.mT``."""
    tensor = call.tensor()
    if tensor is None or tensor.shape is None:
        return NOTHING if tensor is None else permuted(call, tensor, [])
    return permuted(call, tensor, list(range(len(tensor.shape)))[::-1])
