"""Operations that take a tensor apart."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model.keys import item
from mha_lint.model.layout import place
from mha_lint.model.operations.dims import resized, without
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import Size, constant, equate
from mha_lint.model.values import (
    NOTHING,
    Repeated,
    Sequence,
    Tensor,
    Value,
    arguments,
    as_int,
    as_size,
)


def chunk(call: Call) -> Value:
    tensor, count, dim = call.tensor(), call.integer(1, "chunks"), call.integer(2, "dim", 0)
    if tensor is None or count is None or not 0 < count < 64:
        return Repeated(NOTHING)
    if tensor.shape is None or dim is None:
        last = tensor.last.divide(constant(count)) if tensor.last is not None and dim == -1 else None
        return _last_parts(call, tensor, [last] * count)
    dim = place(dim, len(tensor.shape))
    whole = tensor.shape[dim]
    size = whole.divide(constant(count))
    if size is None and whole.symbol is not None:
        size = call.fresh_size("part")
        equate(whole, constant(count) * size, call.state.definitions)
        tensor = normal(tensor, call.state)
    if size is None:
        return Repeated(NOTHING)
    return Sequence((resized(tensor, dim, call.state.normal(size)),) * count)


def _last_parts(call: Call, tensor: Tensor, sizes: list[Size | None]) -> Sequence:
    """Parts of a tensor of unknown rank, cut along its last dimension into parts of these sizes."""
    key, parts = call.interpreter.key(call.node), []
    for index, size in enumerate(sizes):
        suffix = () if size is None else (*tensor.suffix[:-1], call.state.normal(size))
        lead = tensor.lead if suffix else None
        part = item(key, str(index))
        parts.append(Tensor(suffix=suffix, lead=lead, roles=tensor.roles, scale=tensor.scale, key=part))
    return Sequence(tuple(parts))


def split(call: Call) -> Value:
    tensor = call.tensor()
    _, sizes_value, dim_value = arguments(call.args, call.keywords, "input", "split_size_or_sections", "dim")
    sizes_value = sizes_value if sizes_value is not None else call.keywords.get("split_size")
    dim = 0 if dim_value is None else as_int(dim_value)
    if tensor is not None and dim == 2 and "projection" in tensor.roles and len(tensor.suffix) == 1:
        tensor = call.interpreter.refine(call.state, tensor, 3)  # (b, t, h*d), a head at a time
    sizes = [as_size(item) for item in sizes_value.items] if isinstance(sizes_value, Sequence) else None
    if tensor is not None and tensor.shape is None and dim == -1 and sizes is not None:
        return _last_parts(call, tensor, sizes)
    if tensor is None or tensor.shape is None or dim is None:
        return Repeated(NOTHING)
    dim = place(dim, len(tensor.shape))
    if sizes is not None:
        return Sequence(
            tuple(resized(tensor, dim, call.state.normal(size)) if size is not None else NOTHING for size in sizes)
        )
    size = as_size(sizes_value)
    if size is None:
        return Repeated(NOTHING)
    size = call.state.normal(size)
    count = tensor.shape[dim].divide(size)
    part = resized(tensor, dim, size)
    if count is None or count.constant is None or not 0 < count.constant < 64:
        return Repeated(part, count)
    return Sequence((part,) * count.constant)


def unbind(call: Call) -> Value:
    tensor, dim = call.tensor(0, "input"), call.integer(1, "dim", 0)
    if tensor is None or dim is None:
        return Repeated(NOTHING)
    return unbound(call, tensor, dim)


def _taken(call: Call, tensor: Tensor, dim: int) -> tuple[Tensor, Size | None]:
    """One part of a tensor along a dimension, and how many there are."""
    if tensor.shape:
        dim = place(dim, len(tensor.shape))
        return without(tensor, dim), tensor.shape[dim]
    key = item(call.interpreter.key(call.node), "part")
    lead, suffix = tensor.lead, tensor.suffix
    if lead is not None and 0 <= dim < len(lead.front):
        front = lead.front[:dim] + lead.front[dim + 1 :]
        return replace(tensor, lead=replace(lead, front=front), key=key, contiguous=False), lead.front[dim]
    if lead is not None and -len(suffix) <= dim < 0 and len(suffix) > 1:
        kept = suffix[:dim] + suffix[len(suffix) + dim + 1 :]
        return replace(tensor, suffix=kept, key=key, contiguous=False), suffix[dim]
    return Tensor(roles=tensor.roles, scale=tensor.scale), None


def unbound(call: Call, tensor: Tensor, dim: int) -> Value:
    part, size = _taken(call, tensor, dim)
    part = replace(part, part=call.node)
    count = None if size is None else size.constant
    call.interpreter.saw_unbind(call.node, tensor, dim, call.state.inference)
    return Sequence((part,) * count) if count is not None and 0 < count < 64 else Repeated(part)
