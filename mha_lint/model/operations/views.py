"""Operations that give another view of the same memory, or copy it to do so."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model import folds, layout
from mha_lint.model.axes import Role, Source
from mha_lint.model.folded import Reordered
from mha_lint.model.keys import dimension
from mha_lint.model.layout import Answer, Shape, place
from mha_lint.model.normalised import Normalised
from mha_lint.model.operations.arguments import (
    expanded,
    open_sizes,
    solve,
    target_sizes,
)
from mha_lint.model.operations.open import leading, opened
from mha_lint.model.operations.telling import (
    note_flat,
    note_heads,
    note_image,
    note_open_heads,
)
from mha_lint.model.order import crossed, in_order
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size, product, symbol
from mha_lint.model.values import (
    NOTHING,
    Lead,
    Leading,
    ShapeOf,
    Tensor,
    Value,
    arguments,
    of_shape,
)


def reshaped(call: Call, tensor: Tensor, sizes: list[Size | None] | None, *, copies: bool) -> Value:
    """``view`` (``copies=False``) or ``reshape``; records what a view would meet."""
    if sizes is None:
        if tensor.reordered is not None:
            call.interpreter.put_back.add(tensor.reordered.node)  # or may be
        key = call.interpreter.key(call.node)
        known, assumed = tensor.contiguous or tensor.given, tensor.assumed or not tensor.contiguous
        return Tensor(
            key=key, contiguous=known, assumed=assumed, roles=tensor.roles, merge=tensor.merge, scale=tensor.scale
        )
    shape = solve(call, tensor, sizes)
    tensor = normal(tensor, call.state)
    answer, strides = Answer.UNKNOWN, None
    if tensor.shape is not None and tensor.strides is not None:
        answer, strides = layout.view(tensor.shape, tensor.strides, shape)
    elif tensor.contiguous or tensor.given:
        # Code that lays out its input by a view of its own takes it to be contiguous, as nearly all inputs are.
        answer = Answer.ALWAYS if tensor.contiguous else Answer.UNKNOWN
        strides = layout.contiguous_strides(shape)
        tensor = replace(tensor, assumed=tensor.assumed or not tensor.contiguous)
    call.interpreter.saw_view(call, answer, tensor, shape, copies=copies)
    note_image(call, tensor.shape, shape)
    note_heads(call, tensor, shape)
    note_flat(call, tensor, shape)
    if copies and tensor.uncopied is not None and tensor.shape is not None:
        needed, laid_out = layout.view(tensor.shape, tensor.uncopied, shape)
        if needed is Answer.ALWAYS and (laid_out is None or layout.is_contiguous(shape, laid_out) is not Answer.ALWAYS):
            call.interpreter.would_stay_views.add(call.node)
    if tensor.strides is not None and any(not stride.terms for stride in tensor.strides):
        tensor = tensor.having("repeated")  # heads that were expanded, and are merged
    if answer is Answer.NEVER:  # a copy; of a view, what it will be once it is mended
        # In a batch of 1, which the model leaves out, the reshape may give a view all the same.
        varies = copies and any(size.symbols for size in tensor.shape or ())
        strides, tensor = layout.contiguous_strides(shape), replace(tensor, assumed=varies)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    order = _reordered(call, tensor, shape)
    result = replace(
        tensor, shape=shape, strides=strides, contiguous=contiguous, suffix=(), lead=None, key=None, reordered=order,
        folds=folds.viewed(tensor, shape), of_math=None, uncopied=None,
    )  # fmt: skip
    if tensor.normalised is not None:
        result = replace(result, normalised=laid_anew(tensor.normalised, tensor.shape or (), shape))
    return merged(call, tensor, result)


def laid_anew(normalised: Normalised, before: Shape, after: Shape) -> Normalised | None:
    """Where a view leaves the dimension of a softmax: what lies behind it stays, and it stays whole or is split."""
    first, behind = normalised.dims.start, normalised.dim + 1 or None
    if first < -len(before) or normalised.dim >= 0:
        return None
    if after[first:] == before[first:]:
        return normalised
    rest = before[behind:] if behind is not None else ()
    if normalised.parts > 1 or after[len(after) - len(rest) :] != rest:
        return None
    for parts in range(2, len(after) - len(rest) + 1):
        end = len(after) - len(rest)
        if product(after[end - parts : end]) == before[normalised.dim]:
            return replace(normalised, parts=parts)
    return None


def _reordered(call: Call, tensor: Tensor, shape: Shape) -> Reordered | None:
    """The view in which dimensions changed places, this one or one before it; None where they are in order again."""
    if tensor.reordered is not None:
        if not in_order(tensor.reordered.shape, shape):
            return tensor.reordered
        call.interpreter.put_back.add(tensor.reordered.node)
        return None
    if tensor.shape is None or crossed(tensor.shape, shape) is None:
        return None
    return Reordered(call.node, tensor.shape)


def reshaped_open(call: Call, tensor: Tensor, target: Leading, *, copies: bool) -> Value:
    """A view that keeps the leading dimensions of a tensor of unknown rank and lays out its last one anew."""
    sizes = target_sizes(call, target.items) if target.items else []
    known = tensor.contiguous or tensor.given
    answer = Answer.ALWAYS if tensor.contiguous else Answer.UNKNOWN
    call.interpreter.saw_view(call, answer, tensor, (), copies=copies)
    tensor = replace(tensor, assumed=tensor.assumed or not tensor.contiguous)
    same = Lead(target.key) == (tensor.lead if tensor.suffix else leading(tensor))
    if sizes is None or not (same and tensor.shape is None):
        key = call.interpreter.key(call.node)
        roles, merge = tensor.roles, tensor.merge
        if "context" in roles and tensor.rank is not None and tensor.rank > 3 and len(target.items) == 1:
            roles, merge = roles | {"merged"}, call.node  # (b, t, h, d) -> (*x.shape[:-1], -1)
        return Tensor(key=key, contiguous=known, assumed=tensor.assumed, roles=roles, merge=merge, scale=tensor.scale)
    width = tensor.suffix or (symbol(dimension(target.key, -1)),)
    suffix = solve(call, of_shape(width), sizes)
    note_open_heads(call, tensor, suffix)
    return replace(tensor, suffix=suffix, lead=Lead(target.key), key=call.interpreter.key(call.node), contiguous=known)


def merged(call: Call, before: Tensor, after: Tensor) -> Tensor:
    """Mark ``after`` where it holds the heads of a multi-head context side by side in one dimension."""
    if "context" not in before.roles or before.width is None or before.batch is None:
        return after
    width, batch = call.state.normal(before.width), call.state.normal(before.batch)
    held = before.shape or before.suffix
    for size in after.shape or after.suffix:
        heads = size.divide(width)
        if heads is None or heads == ONE or size in held:
            continue
        if batch.divide(heads) is not None:
            return replace(after.having("merged"), merge=call.node)
    return after


def laid_out(call: Call, tensor: Tensor, values: tuple[Value, ...], *, copies: bool) -> Value:
    target = open_sizes(call, tuple(expanded(value, call.state) for value in values))
    if target is not None:
        return reshaped_open(call, tensor, target, copies=copies)
    return reshaped(call, tensor, target_sizes(call, values), copies=copies)


def view(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    if len(call.args) == 2 and isinstance(call.args[1], ShapeOf):
        tensor = replace(tensor, shape=None, strides=None, contiguous=False, suffix=(), lead=None, key=None, folds=())
        return replace(tensor, of_math=None, uncopied=None)
    values = call.args[1:] or tuple(value for name, value in call.keywords.items() if name in ("size", "shape"))
    return laid_out(call, tensor, values, copies=False)


def reshape(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    if isinstance(call.node, ast.Call):
        call.interpreter.reshapes.add(call.node)
    values = call.args[1:] or tuple(value for name, value in call.keywords.items() if name == "shape")
    return NOTHING if tensor is None else laid_out(call, tensor, values, copies=True)


def view_as(call: Call) -> Value:
    tensor, other = call.tensor(), call.tensor(1, "other")
    if tensor is None or other is None:
        return NOTHING
    kept = replace(tensor, strides=None, contiguous=False, suffix=(), lead=None, key=None, normalised=None, folds=())
    return replace(kept, shape=normal(other, call.state).shape, of_math=None, uncopied=None)


def flatten(call: Call) -> Value:
    tensor = call.tensor()
    start, end = call.integer(1, "start_dim", 0), call.integer(2, "end_dim", -1)
    if tensor is None or tensor.shape is None or start is None or end is None:
        return NOTHING if tensor is None else _flattened_open(call, tensor, start, end)
    rank = len(tensor.shape)
    start, end = place(start, rank), place(end, rank)
    sizes: list[Size | None] = [
        *tensor.shape[:start], product(tensor.shape[start : end + 1]), *tensor.shape[end + 1 :]
    ]  # fmt: skip
    return reshaped(call, tensor, sizes, copies=True)


def _flattened_open(call: Call, tensor: Tensor, start: int | None, end: int | None) -> Tensor:
    """The last dimensions of a tensor of unknown rank made one."""
    if start is not None and start > 0 and end == -1 and tensor.lead is None and tensor.key is not None:
        kept = tuple(symbol(dimension(tensor.key, dim)) for dim in range(start))
        merged_size = call.fresh_size("n")
        if start == 2:
            call.interpreter.axes.tell(merged_size, Role.TOKENS, Source.IMAGE)
        note_flat(call, tensor, (*kept, merged_size))
        return replace(of_shape((*kept, merged_size)), roles=tensor.roles, inputs=tensor.inputs)
    suffix, lead = tensor.suffix, tensor.lead
    known = opened(tensor, -start) if start is not None and end is not None and start < end < 0 else None
    if known is not None and start is not None and end is not None:
        after = len(known.suffix) + end + 1
        suffix, lead = (*known.suffix[:start], product(known.suffix[start:after]), *known.suffix[after:]), known.lead
    else:
        suffix, lead = (), None
    result = replace(tensor, suffix=suffix, lead=lead, strides=None, key=call.interpreter.key(call.node), folds=())
    return result if known is None else merged(call, known, result)


def unflatten(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    (sizes_value,) = arguments(call.args[2:], call.keywords, "sizes") if len(call.args) > 2 else (
        call.keywords.get("sizes"),
    )  # fmt: skip
    sizes = None if sizes_value is None else target_sizes(call, (sizes_value,))
    if tensor is None or dim is None or sizes is None:
        return NOTHING
    if tensor.shape is None:
        return _unflattened_open(call, tensor, dim, sizes)
    dim = place(dim, len(tensor.shape))
    inner = solve(call, of_shape((tensor.shape[dim],)), sizes)
    return reshaped(call, tensor, [*tensor.shape[:dim], *inner, *tensor.shape[dim + 1 :]], copies=True)


def _unflattened_open(call: Call, tensor: Tensor, dim: int, sizes: list[Size | None]) -> Tensor:
    """One of the last dimensions of a tensor of unknown rank made several."""
    key = call.interpreter.key(call.node)
    known = opened(tensor, -dim) if dim < 0 else None
    if known is None or known.lead is None:
        return Tensor(key=key, roles=tensor.roles, contiguous=tensor.contiguous)
    split = solve(call, of_shape((known.suffix[dim],)), sizes)
    suffix = (*known.suffix[:dim], *split, *known.suffix[len(known.suffix) + dim + 1 :])
    note_open_heads(call, tensor, suffix)
    lies = tensor.contiguous or tensor.given
    assumed = tensor.assumed or not tensor.contiguous
    return replace(known, key=key, suffix=suffix, contiguous=lies, assumed=assumed, folds=())
