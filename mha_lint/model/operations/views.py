"""Operations that give another view of the same memory, or copy it to do so."""

from __future__ import annotations

import ast

from mha_lint.model import folds, layout
from mha_lint.model.axes import Role, Source
from mha_lint.model.folded import Fold, Part, Reordered
from mha_lint.model.keys import dimension
from mha_lint.model.layout import Answer, Shape, place
from mha_lint.model.normalised import Normalised
from mha_lint.model.operations.arguments import (
    dims_argument,
    expanded,
    open_sizes,
    solve,
    target_sizes,
)
from mha_lint.model.operations.open import exchanged, leading, moved, opened, swapped
from mha_lint.model.operations.telling import (
    note_expanded,
    note_flat,
    note_heads,
    note_image,
    note_open_heads,
    note_turned,
)
from mha_lint.model.order import crossed, in_order
from mha_lint.model.records import replace
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size, constant, product, symbol
from mha_lint.model.values import (
    NOTHING,
    Lead,
    Leading,
    Sequence,
    ShapeOf,
    Tensor,
    Value,
    arguments,
    as_size,
    fresh,
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
