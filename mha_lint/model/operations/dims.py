"""Operations that add a dimension, take one away, cut it, or repeat along it."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model import folds, layout
from mha_lint.model.folded import Fold, Part
from mha_lint.model.keys import dimension
from mha_lint.model.layout import Answer, Shape, place
from mha_lint.model.operations.arguments import (
    target_sizes,
)
from mha_lint.model.operations.telling import (
    note_expanded,
)
from mha_lint.model.run import Call
from mha_lint.model.sizes import ONE, Size, constant, symbol
from mha_lint.model.values import (
    NOTHING,
    Tensor,
    Value,
    arguments,
    as_size,
    of_shape,
)


def squeeze(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None:
        return NOTHING if tensor is None else _squeezed_open(tensor, dim)
    at = place(dim, len(tensor.shape))
    return without(tensor, at) if tensor.shape[at] == ONE else _squeezed_open(tensor, dim)


def _squeezed_open(tensor: Tensor, dim: int | None) -> Tensor:
    """A tensor of unknown rank with a dimension less, which the code takes to be of size 1."""
    result = Tensor(roles=tensor.roles, merge=tensor.merge, least=max(tensor.least - 1, 0))
    at = None if tensor.normalised is None else tensor.normalised.dim
    if tensor.shape is not None or dim is None or at is None or at == dim or (at < 0) != (dim < 0):
        return result
    at += (at < dim) if at < 0 else -(dim < at)
    return replace(result, normalised=tensor.normalised_at(at).normalised)


def _inserted_open(tensor: Tensor, dim: int | None) -> Tensor:
    """A tensor of unknown rank with one more dimension, of size 1."""
    result = Tensor(roles=tensor.roles, merge=tensor.merge, least=tensor.least + 1)
    at = None if tensor.normalised is None else tensor.normalised.dim
    if tensor.shape is not None or dim is None or at is None:
        return result
    if at < 0 and dim < 0:
        at -= at <= dim
    elif at >= 0 and dim >= 0:
        at += dim <= at
    elif (at >= 0 and dim != -1) or (at < 0 and tensor.least + at < dim):  # it may be put before or behind
        return result
    return replace(result, normalised=tensor.normalised_at(at).normalised)


def as_complex(call: Call) -> Value:
    """``torch.view_as_complex(x)``: the last dimension, of size 2, is gone."""
    tensor = call.tensor(0, "input")
    return NOTHING if tensor is None else _of_last(call, tensor, None if tensor.shape is None else tensor.shape[:-1])


def as_real(call: Call) -> Value:
    """``torch.view_as_real(z)``: there is a last dimension of size 2."""
    tensor = call.tensor(0, "input")
    return (
        NOTHING
        if tensor is None
        else _of_last(call, tensor, None if tensor.shape is None else (*tensor.shape, constant(2)))
    )


def _of_last(call: Call, tensor: Tensor, shape: Shape | None) -> Tensor:
    key = call.interpreter.key(call.node) if shape is None else None
    return of_shape(shape, key=key, roles=tensor.roles, inputs=tensor.inputs)


def unsqueeze(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None:
        key = call.interpreter.key(call.node)
        if tensor is not None and dim in (0, 1):
            call.interpreter.axes.inserted(key, tensor, dim)
        elif tensor is not None and dim == -1:
            call.interpreter.axes.alike_to(key, tensor)
        return NOTHING if tensor is None else replace(_inserted_open(tensor, dim), key=key)
    return inserted(tensor, dim % (len(tensor.shape) + 1))


def inserted(tensor: Tensor, dim: int) -> Tensor:
    """The tensor with a new dimension of size 1 before ``dim``, its stride as torch chooses it."""
    assert tensor.shape is not None
    strides = None
    if tensor.strides is not None:
        step = tensor.shape[dim] * tensor.strides[dim] if dim < len(tensor.shape) else ONE
        strides = (*tensor.strides[:dim], step, *tensor.strides[dim:])
    rank, shape = len(tensor.shape), (*tensor.shape[:dim], ONE, *tensor.shape[dim:])
    if tensor.normalised is not None and dim > tensor.normalised.dims.start % rank:
        behind = dim > tensor.normalised.dim % rank or tensor.normalised.parts > 1
        tensor = tensor.normalised_at(tensor.normalised.dim - behind)
    there = folds.inserted(tensor.folds, dim, rank)
    return replace(tensor, shape=shape, strides=strides, key=None, folds=there, of_math=None, uncopied=None)


def without(tensor: Tensor, dim: int) -> Tensor:
    """``select``: the dimension is gone, the strides of the others stay."""
    assert tensor.shape is not None
    shape = tensor.shape[:dim] + tensor.shape[dim + 1 :]
    strides = None if tensor.strides is None else tensor.strides[:dim] + tensor.strides[dim + 1 :]
    there = folds.without(tensor.folds, dim, len(tensor.shape))
    if tensor.normalised is not None:
        at = tensor.normalised.dim % len(tensor.shape)
        gone = dim - len(tensor.shape) in tensor.normalised.dims
        tensor = tensor.normalised_at(None if gone else tensor.normalised.dim + (dim > at))
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    return replace(
        tensor, shape=shape, strides=strides, contiguous=contiguous, key=None, folds=there, of_math=None, uncopied=None
    )


def resized(tensor: Tensor, dim: int, size: Size) -> Tensor:
    """A part of the tensor along ``dim``: the size changes, the strides stay."""
    assert tensor.shape is not None
    shape = (*tensor.shape[:dim], size, *tensor.shape[dim + 1 :])
    there = tensor.folds if size == tensor.shape[dim] else folds.but(tensor.folds, dim - len(shape))
    along = () if tensor.normalised is None else tensor.normalised.dims
    if tensor.shape[dim] != size and dim - len(shape) in along:
        tensor = replace(tensor, normalised=None)
    contiguous = tensor.strides is not None and layout.is_contiguous(shape, tensor.strides) is Answer.ALWAYS
    return replace(tensor, shape=shape, contiguous=contiguous, key=None, folds=there)


def select(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None:
        return NOTHING
    return without(tensor, place(dim, len(tensor.shape)))


def narrow(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    size = as_size(arguments(call.args, call.keywords, "input", "dim", "start", "length")[3])
    if tensor is None or tensor.shape is None or dim is None or size is None:
        return NOTHING
    return resized(tensor, place(dim, len(tensor.shape)), size)


def expand(call: Call) -> Value:
    tensor = call.tensor()
    sizes = target_sizes(call, call.args[1:])
    if tensor is not None and tensor.shape is None and sizes:
        return _expanded_open(call, tensor, sizes)
    if tensor is None or tensor.shape is None or sizes is None or len(sizes) < len(tensor.shape):
        return NOTHING if tensor is None else Tensor(roles=tensor.roles)
    new = len(sizes) - len(tensor.shape)
    minus_one = constant(-1)
    shape = tuple(
        tensor.shape[index - new] if size == minus_one and index >= new else size or call.fresh_size(f"n{index}")
        for index, size in enumerate(sizes)
    )
    strides = None if tensor.strides is None else layout.expand_strides(tensor.shape, tensor.strides, shape)
    note_expanded(call, tensor, shape)
    there = folds.expanded(tensor, shape, call.node)
    return replace(
        tensor, shape=shape, strides=strides, contiguous=False, key=None, folds=there, of_math=None, uncopied=None
    )


def _expanded_open(call: Call, tensor: Tensor, sizes: list[Size | None]) -> Tensor:
    """What is expanded has as many dimensions as sizes. Along those that it is told it may be all alike."""
    key, minus_one = call.interpreter.key(call.node), constant(-1)
    told = [size is not None and size != minus_one for size in sizes]
    shape = [
        size if size is not None and known else symbol(dimension(key, dim))
        for dim, (size, known) in enumerate(zip(sizes, told, strict=True))
    ]
    for dim in range(-min(len(tensor.suffix), len(shape)), 0):
        if not told[dim]:
            shape[dim] = tensor.suffix[dim]
    is_new = told[0] and call.interpreter.axes.at(tensor, 0) == ONE
    own = call.interpreter.axes.at(tensor, 1) if is_new else None
    owner = None if own is None or own.symbol is None else own.symbol.owner
    alike: list[Fold] = []
    for dim, size in enumerate(shape):
        is_its_own = owner is not None and size.symbol is not None and size.symbol.owner is owner
        part = Part(size, alike=told[dim] and not is_its_own)
        alike.append(Fold(dim - len(shape), (part,), call.node if is_new and dim == 0 else None))
    there, plain = folds.told(alike), replace(tensor, suffix=(), lead=None, key=None, of_math=None, uncopied=None)
    return replace(plain, shape=tuple(shape), strides=None, contiguous=False, folds=there)


def expand_as(call: Call) -> Value:
    tensor, other = call.tensor(), call.tensor(1, "other")
    if tensor is None or tensor.shape is None or other is None or other.shape is None:
        return NOTHING
    strides = None if tensor.strides is None else layout.expand_strides(tensor.shape, tensor.strides, other.shape)
    there = folds.expanded(tensor, other.shape, call.node)
    return replace(
        tensor, shape=other.shape, strides=strides, contiguous=False, key=None, folds=there, of_math=None, uncopied=None
    )
