"""Operations that repeat tensors or join several into one."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mha_lint.model import folds
from mha_lint.model.axes import Role, Source
from mha_lint.model.folded import Fold, Part
from mha_lint.model.keys import Key, dimension
from mha_lint.model.layout import Shape, place
from mha_lint.model.operations.arguments import target_sizes
from mha_lint.model.operations.telling import note_expanded
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import Scale, together
from mha_lint.model.sizes import ONE, Size, constant, symbol
from mha_lint.model.values import (
    NOTHING,
    Lead,
    Repeated,
    Sequence,
    Tensor,
    Unknown,
    Value,
    arguments,
    as_int,
    as_size,
    as_tensor,
    fresh,
    of_shape,
)
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import CACHE


def repeat(call: Call) -> Value:
    tensor, sizes = call.tensor(), target_sizes(call, call.args[1:])
    if tensor is None or sizes is None or (tensor.shape is not None and len(sizes) < len(tensor.shape)):
        return NOTHING
    told = [call.fresh_size(f"n{i}") if times is None else times for i, times in enumerate(sizes)]
    counts = {at - len(told): times for at, times in enumerate(told) if times != ONE}
    there = folds.repeated(tensor, counts, call.node)
    if tensor.shape is None:
        known = len(counts) == 1 and tensor.key is not None
        return Tensor(key=call.interpreter.key(call.node), folds=there) if known else NOTHING
    shape = (ONE,) * (len(told) - len(tensor.shape)) + tensor.shape
    wide = tuple(size * times for size, times in zip(shape, told, strict=True))
    note_expanded(call, tensor, wide)
    return fresh(wide, roles=tensor.roles, folds=there, made=tensor.made)


def repeat_interleave(call: Call) -> Value:
    tensor = call.tensor()
    _, times_value, dim_value = arguments(call.args, call.keywords, "input", "repeats", "dim")
    times, dim = as_size(times_value), as_int(dim_value)
    if tensor is not None and tensor.shape is None and "cached" in tensor.roles:
        return Tensor(key=call.interpreter.key(call.node), roles=frozenset({"cached", "repeated"}))
    if tensor is None or tensor.shape is None or times is None or dim is None:
        return NOTHING
    dim = place(dim, len(tensor.shape))
    at = dim - len(tensor.shape)
    return fresh(
        (*tensor.shape[:dim], tensor.shape[dim] * call.state.normal(times), *tensor.shape[dim + 1 :]),
        roles=tensor.roles | {"repeated"},
        inputs=tensor.inputs,
        scale=tensor.scale,
        folds=folds.repeated(tensor, {at: call.state.normal(times)}, call.node, inside=True),
        made=tensor.made,
    )


def cat(call: Call) -> Value:
    tensors_value, dim_value = arguments(call.args, call.keywords, "tensors", "dim")
    dim = 0 if dim_value is None else as_int(dim_value)
    match tensors_value:
        case Repeated(Tensor() as item, count):
            return heads_joined(call, item, count, dim)
        case Repeated(Unknown() as item, count):
            tensor = as_tensor(item)
            item_known = None if tensor is None else normal(tensor, call.state)
            if item_known is None:
                return NOTHING
            if item_known.shape is None:
                return _joined_open(call, count) if dim == 0 and _is_one(call.node) else NOTHING
            return heads_joined(call, item_known, count, dim)
        case Sequence(items) if any(isinstance(item, Tensor) for item in items):
            parts = [as_tensor(item) for item in items]
            if None in parts:
                return NOTHING
            tensors = [normal(part, call.state) for part in parts if part is not None]
        case _:
            return NOTHING
    roles = frozenset().union(*(tensor.roles for tensor in tensors))
    if not all("parameter" in tensor.roles for tensor in tensors):
        roles = roles - {"parameter"}  # keys that were learned beside those of the input
    if len(tensors) == 2 and "projection" in roles and names_said(CACHE, call.node):
        roles = roles | {"cached"}
    _note_tokens(call, tensors, dim)
    first = tensors[0]
    ranks = {tensor.rank for tensor in tensors if tensor.rank is not None}
    scale = _joined_scale([tensor.scale for tensor in tensors])
    if not ranks and dim == -1 and first.suffix and len({tensor.suffix[:-1] for tensor in tensors}) == 1:
        last = [tensor.last for tensor in tensors if tensor.last is not None]
        suffix = (*first.suffix[:-1], sum(last[1:], last[0])) if len(last) == len(tensors) else ()
        key, lead = call.interpreter.key(call.node), first.lead if suffix else None
        return Tensor(suffix=suffix, lead=lead, key=key, roles=roles, merge=first.merge, scale=scale)
    if dim == 1 and not ranks and {call.interpreter.axes.heads_of(tensor) for tensor in tensors} == {-2}:
        key, lead = _tokens_joined(call, first)
        return Tensor(suffix=first.suffix, lead=lead, key=key, roles=roles, merge=first.merge, scale=scale)
    if dim is None or len(ranks) != 1:
        return Tensor(roles=roles, merge=first.merge, scale=scale)
    rank = ranks.pop()
    model = next(tensor.shape for tensor in tensors if tensor.shape is not None)
    at = place(dim, rank)
    sizes = [tensor.shape[at] if tensor.shape is not None else None for tensor in tensors]
    total = sum((size for size in sizes if size is not None), constant(0)) if None not in sizes else call.fresh_size()
    shape = tuple(total if index == at else size for index, size in enumerate(model))
    if len(tensors) == 2 and "projection" in roles and any(tensor.given for tensor in tensors):
        roles = roles | {"cached"}
    known = {
        "roles": roles,
        "merge": first.merge,
        "batch": first.batch,
        "width": first.width,
        "scale": scale,
        "inputs": frozenset().union(*(tensor.inputs for tensor in tensors)),
        "padded": any(tensor.made or tensor.padded for tensor in tensors),
    }
    plain = len(shape) not in (4, 5) or all(map(_plain, tensors)) or any(map(_in_order, tensors))
    return (fresh if plain else of_shape)(shape, **known)


def _note_tokens(call: Call, tensors: list[Tensor], dim: int | None) -> None:
    """Learned tokens are put beside those of the input along the dimension of tokens."""
    if dim not in (0, 1) or not any("parameter" in tensor.roles for tensor in tensors):
        return
    for tensor in tensors:
        if "parameter" not in tensor.roles and tensor.rank in (None, 3):
            call.interpreter.axes.tell_front(tensor, Source.TOKEN, batch_first=dim == 1)


def _tokens_joined(call: Call, first: Tensor) -> tuple[Key, Lead]:
    """(b, t, h, d) beside (b, s, h, d), of which the heads alone are known: what is joined before them are tokens."""
    key = call.interpreter.key(call.node)
    call.interpreter.axes.tell(symbol(dimension(key, 1)), Role.TOKENS, Source.ATTENTION)
    return key, Lead(key, cut=len(first.suffix))


def _joined_scale(scales: list[Scale | None]) -> Scale | None:
    """The scale of parts laid side by side: unsure where one comes from elsewhere, as cached keys and sinks do."""
    known = list(dict.fromkeys(scale for scale in scales if scale is not None))
    if len(known) > 1:
        return together(known)
    if not known:
        return None
    return known[0].unsure if None in scales else known[0]


def _in_order(tensor: Tensor) -> bool:
    """Return True where the tensor is certainly not channels-last; joined to others, it makes the result contiguous.

    Source: ``compute_output_memory_format`` in ATen/native/TensorShape.cpp.
    """
    return tensor.strides is not None and (tensor.strides[1] - ONE).sign() == 1


def heads_joined(call: Call, item: Tensor, count: Size | None, dim: int | None) -> Value:
    """``torch.cat([head(x) for head in heads], dim=-1)``."""
    item = normal(item, call.state)
    roles = item.roles
    if "context" in roles and (dim == -1 or (item.rank is not None and dim == item.rank - 1)):
        roles = roles | {"merged"}
    merge = call.node if "merged" in roles else None
    if item.shape is None or dim is None:
        suffix = (*item.suffix[:-1], item.last * call.state.normal(count)) if dim == -1 and item.last and count else ()
        return Tensor(
            contiguous=True,
            suffix=suffix,
            lead=item.lead if suffix else None,
            roles=roles,
            merge=merge,
            key=call.interpreter.key(call.node),
            scale=item.scale,
        )
    count = count if count is not None else call.fresh_size("heads")
    dim %= len(item.shape)
    shape = (*item.shape[:dim], item.shape[dim] * call.state.normal(count), *item.shape[dim + 1 :])
    there = folds.repeated(item, {dim - len(shape): call.state.normal(count)}, call.node, alike=_is_one(call.node))
    return _laid_out(item, shape)(shape, roles=roles, merge=merge, scale=item.scale, folds=there)


def _joined_open(call: Call, count: Size | None) -> Value:
    """``torch.cat([mask] * n)`` of unknown rank, whose first dimension is known to be repeated as a whole."""
    key = call.interpreter.key(call.node)
    if count is None:
        return NOTHING
    call.interpreter.axes.tiled[key] = Fold(0, (Part(call.state.normal(count), alike=True), Part(None)), call.node)
    return Tensor(key=key)


def _is_one(node: ast.expr) -> bool:
    """Tell whether ``torch.cat([mask] * n)`` joins one tensor several times, not several that are alike in shape."""
    return isinstance(node, ast.Call) and bool(node.args) and isinstance(node.args[0], ast.BinOp)


def _laid_out(item: Tensor, shape: Shape) -> Callable[..., Tensor]:
    """Return the constructor of the joined tensor: a contiguous one, unless the items may be channels-last."""
    return fresh if len(shape) not in (4, 5) or _plain(item) else of_shape


def _plain(tensor: Tensor) -> bool:
    """Return True where the tensor is contiguous and no dimension is 1, which could make it channels-last as well."""
    return tensor.contiguous and ONE not in (tensor.shape or tensor.suffix)


def stack(call: Call) -> Value:
    tensors_value, dim_value = arguments(call.args, call.keywords, "tensors", "dim")
    dim = 0 if dim_value is None else as_int(dim_value)
    match tensors_value:
        case Sequence(items) if items and isinstance(items[0], Tensor):
            first, count = normal(items[0], call.state), constant(len(items))
        case Repeated(Tensor() as item, count_size):
            first, count = normal(item, call.state), count_size or call.fresh_size("count")
        case _:
            return NOTHING
    if first.shape is None or dim is None:
        return Tensor(roles=first.roles)
    dim %= len(first.shape) + 1
    shape = (*first.shape[:dim], count, *first.shape[dim:])
    batch = first.batch * count if first.batch is not None and dim < len(first.shape) else first.batch
    if "context" in first.roles and first.batch is None and first.shape:
        batch = count
    return _laid_out(first, shape)(shape, roles=first.roles, width=first.width, batch=batch)
