"""Elementwise operations, copies, and others that keep the shape."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from msgspec.structs import replace

from mha_lint.model import folds, layout
from mha_lint.model.axes import Source
from mha_lint.model.keys import Key
from mha_lint.model.layout import Answer, Refused, Shape, Strides, contiguous_strides
from mha_lint.model.marks import Mask
from mha_lint.model.normalised import Normalised
from mha_lint.model.operations import clashes
from mha_lint.model.operations.devices import met
from mha_lint.model.operations.open import opened
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import together
from mha_lint.model.sizes import ONE, Size, equate
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Qualified,
    Sequence,
    State,
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


def contiguous(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None or call.keywords:
        return NOTHING if tensor is None else replace(tensor, strides=None, contiguous=False)
    call.interpreter.saw_contiguous(call.node, tensor)
    strides = None if tensor.shape is None else layout.contiguous_strides(tensor.shape)
    return replace(tensor, strides=strides, contiguous=True, assumed=False, uncopied=tensor.strides)


def clone(call: Call) -> Value:
    """A dense tensor keeps its strides (``torch.preserve_format``)."""
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    if "memory_format" in call.keywords:
        plain = call.keywords["memory_format"] == Qualified("torch.contiguous_format")
        strides = layout.contiguous_strides(tensor.shape) if plain and tensor.shape is not None else None
        return replace(tensor, strides=strides, contiguous=plain)
    return elementwise(call, tensor)


def same(call: Call) -> Value:
    return call.tensor() or NOTHING


def pad(call: Call) -> Value:
    """Allocates; a padded dimension has a new size, and zero padding keeps the layout."""
    tensor = call.tensor(0, "input")
    _, pads = arguments(call.args, call.keywords, "input", "pad")
    if tensor is None or tensor.shape is None or not isinstance(pads, Sequence) or len(pads.items) % 2:
        return NOTHING
    shape = list(tensor.shape)
    if len(pads.items) > 2 * len(shape):
        raise Refused
    for index in range(len(pads.items) // 2):
        before, after = (as_size(pad) for pad in pads.items[2 * index : 2 * index + 2])
        dim = len(shape) - 1 - index
        shape[dim] = call.fresh_size(f"n{dim}") if before is None or after is None else shape[dim] + before + after
    result = tuple(map(call.state.normal, shape))
    made = fresh if tensor.contiguous or tensor.given else of_shape
    return made(result, assumed=tensor.contiguous or tensor.given, padded=True)


def elementwise(call: Call, *values: Value) -> Value:
    """The result of an elementwise operation on tensors and numbers, as TensorIterator lays it out."""
    tensors = [normal(value, call.state) for value in values if isinstance(value, Tensor)]
    if not tensors:
        unnamed = [value for value in values if isinstance(value, Unknown)]
        _note_front(call, call.interpreter.key(call.node), (), values)
        return Tensor(key=call.interpreter.key(call.node)) if unnamed else NOTHING
    unknown = any(isinstance(value, Unknown) for value in values)
    _note_mask(call, values)
    result = replace(_meaning(tensors, values[0]), homes=met(call, values))
    ranked = [tensor for tensor in tensors if tensor.shape is not None]
    key = call.interpreter.key(call.node)
    if len(tensors) == 1 and not ranked:
        only = tensors[0]
        alike = only if only.suffix or unknown else _like(only)
        _note_front(call, key, tensors, values)
        return replace(
            result, contiguous=only.contiguous and not unknown, suffix=alike.suffix, lead=alike.lead, key=key,
            folds=only.folds,
        )  # fmt: skip
    unknown = unknown or len(ranked) < len(tensors)
    clashing = clashes.of_elements(call, tensors, known=not unknown) if len(values) > 1 else None
    if unknown:
        met_orders(call, tensors, range(-9, 0), first=False)
    if len(values) == 2 and (call.interpreter.axes.has_rows or any("parameter" in each.roles for each in tensors)):
        _note_table(call, *map(as_tensor, values))
    if not ranked or (unknown and not any(map(_fills, ranked))):
        _note_front(call, key, tensors, values)
        return replace(result, key=key)
    shapes = [tensor.shape for tensor in _without_triangles(ranked) if tensor.shape is not None]
    shape = broadcast(call.state, shapes) if clashing is None else clashing
    if result.normalised is not None and result.normalised.dim >= 0:
        result = replace(result, normalised=None)  # another operand may have more dimensions in front
    there = met_orders(call, ranked, range(-len(shape), 0), first=False)
    strides: Strides | None = None
    leading = values[0]
    if all(tensor.contiguous for tensor in ranked) and not unknown:
        strides = layout.contiguous_strides(shape)
    elif isinstance(leading, Tensor) and leading.shape is not None:
        full = normal(leading, call.state)
        if full.shape == shape and full.strides is not None:
            strides = layout.dense_like(shape, full.strides)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    if result.of_math is not None and len(result.of_math) != len(shape):
        result = replace(result, of_math=None)
    return replace(result, shape=shape, strides=strides, contiguous=contiguous, folds=there)


def met_orders(call: Call, tensors: list[Tensor], dims: range, *, first: bool) -> folds.Folds:
    """The folds of what is computed from tensors, place by place; orders that cross are told to the observer.

    They must be those of the ``first`` size of some tensor, or else of any size that a tensor came with.
    """
    axes = call.interpreter.axes
    if axes.tiled:
        rank = max((tensor.rank or 0 for tensor in tensors), default=0)
        tensors = [replace(tensor, folds=axes.folds_of(tensor, rank)) for tensor in tensors]
    if not any(tensor.folds for tensor in tensors):
        return ()
    for at, tensor in enumerate(tensors):
        for other in tensors[at + 1 :]:
            _note_orders(call, tensor, other, dims, first=first)
    return folds.met(tensors, dims)


def _note_orders(call: Call, left: Tensor, right: Tensor, dims: range, *, first: bool) -> None:
    for one in left.folds:
        for other in right.folds:
            if one.dim != other.dim or one.dim not in dims or not (one.repeated or other.repeated):
                continue
            size = folds.crosses(one, other, call.state)
            entries = one if one.repeated is not None else other
            if size is not None and folds.is_of_entries(entries, size, call.state, first=first):
                call.interpreter.saw_orders(one, other)


def _note_front(call: Call, key: Key, tensors: Iterable[Tensor], values: tuple[Value, ...]) -> None:
    """The first dimensions of a result of unknown rank are those of the operand that is no parameter.

    An operand that is not known to be a tensor may be a number: it tells them where they are known of no other.
    """
    unnamed = [as_tensor(value) for value in values if isinstance(value, Unknown)]
    operands = [*tensors, *(tensor for tensor in unnamed if tensor is not None)]
    open_ones = [tensor for tensor in operands if tensor.shape is None and "parameter" not in tensor.roles]
    if open_ones:
        axes = call.interpreter.axes
        axes.alike_to(key, next(filter(axes.knows, open_ones), open_ones[0]))


def _note_table(call: Call, left: Tensor | None, right: Tensor | None) -> None:
    """A learned table (1, t, c) is broadcast along the batch, and has a row for each token."""
    if left is None or right is None:
        return
    for table, other in ((left, right), (right, left)):
        call.interpreter.saw_positions(call, table, other)
        shape = table.shape or ()
        if len(shape) != 3 or "parameter" not in table.roles or "parameter" in other.roles:
            continue
        if (shape[0] == ONE) != (shape[1] == ONE) and other.rank in (None, 3):
            call.interpreter.axes.tell_front(other, Source.TABLE, batch_first=shape[0] == ONE)


def _note_mask(call: Call, values: tuple[Value, ...]) -> None:
    """A tensor added to scores masks or biases them."""
    scores = [value for value in values if isinstance(value, Tensor) and "scores" in value.roles]
    if scores and len(values) == 2:
        for value in values:
            other = as_tensor(value)
            if other is not None and value is not scores[0] and not other.roles & {"scores", "features"}:
                call.interpreter.saw_use(other, "mask or bias")


def _like(tensor: Tensor) -> Tensor:
    """A tensor with the dimensions of one of unknown rank."""
    return opened(tensor, 1) or tensor


def _meaning(tensors: list[Tensor], leading: Value) -> Tensor:
    """Return a tensor with the roles, scale, masks and inputs that an elementwise result has from its operands."""
    if len(tensors) == 1:
        return _meaning_of_one(tensors[0], leading)
    marked = next((tensor for tensor in tensors if tensor.width is not None), Tensor())
    scaled = list(dict.fromkeys(tensor.scale for tensor in tensors if tensor.scale is not None))
    normalised = {tensor.normalised for tensor in tensors if tensor.normalised is not None}
    return Tensor(
        assumed=any(tensor.assumed for tensor in tensors),
        made=all(tensor.made for tensor in tensors),
        padded=any(tensor.padded for tensor in tensors),
        roles=frozenset().union(*(tensor.roles - {"parameter"} for tensor in tensors)),
        merge=next((tensor.merge for tensor in tensors if tensor.merge is not None), None),
        part=leading.part if isinstance(leading, Tensor) else tensors[0].part,
        batch=marked.batch,
        width=marked.width,
        normalised=normalised.pop() if len(normalised) == 1 else None,
        reordered=leading.reordered if isinstance(leading, Tensor) else None,
        scale=scaled[0] if len(scaled) == 1 else together(scaled),
        least=max(tensor.rank or tensor.least for tensor in tensors),
        masked=frozenset().union(*(t.masked for t in tensors if t.roles & {"scores", "weights"})),
        single=any(tensor.single for tensor in tensors),
        origin=leading.origin if isinstance(leading, Tensor) else None,
        inputs=frozenset().union(*(tensor.inputs for tensor in tensors)),
    )


def _meaning_of_one(tensor: Tensor, leading: Value) -> Tensor:
    """The same, where all other operands are numbers."""
    leads = isinstance(leading, Tensor)
    roles = tensor.roles
    return Tensor(
        assumed=tensor.assumed,
        made=tensor.made,
        padded=tensor.padded,
        roles=roles - {"parameter"} if "parameter" in roles else roles,
        merge=tensor.merge,
        part=tensor.part,
        batch=None if tensor.width is None else tensor.batch,
        width=tensor.width,
        normalised=tensor.normalised,
        reordered=tensor.reordered if leads else None,
        scale=tensor.scale,
        least=tensor.rank or tensor.least,
        masked=tensor.masked if roles & {"scores", "weights"} else frozenset(),
        single=tensor.single,
        origin=tensor.origin if leads else None,
        inputs=tensor.inputs,
    )


def _without_triangles(tensors: list[Tensor]) -> list[Tensor]:
    """The operands whose sizes are those of the result: of scores, a triangle tells nothing that they do not.

    It is as large as they are, or, for one query behind a cache, its one row and column are broadcast to all keys.
    """
    ranks = [len(tensor.shape or ()) for tensor in tensors if "scores" in tensor.roles]
    if not ranks:
        return tensors
    return [each for each in tensors if not _is_triangle(each) or len(each.shape or ()) > max(ranks)]


def _is_triangle(tensor: Tensor) -> bool:
    mask = tensor.mask
    return isinstance(mask, Mask) and mask.diagonal is not None and "scores" not in tensor.roles


def _fills(tensor: Tensor) -> bool:
    """Tell whether an operand of unknown rank is more likely broadcast to this tensor than the other way round."""
    return (
        tensor.shape is not None
        and len(tensor.shape) > 2
        and ONE not in tensor.shape
        and "parameter" not in tensor.roles
    )


def broadcast(state: State, shapes: list[Shape]) -> Shape:
    rank = max(map(len, shapes))
    result: list[Size] = [ONE] * rank
    for shape in shapes:
        for index, size in enumerate(shape, start=rank - len(shape)):
            if result[index] == ONE:
                result[index] = size
            elif size != ONE and size != result[index] and not clashes.never_meet(size, result[index]):
                equate(size, result[index], state.definitions)
                result[index] = state.normal(result[index])
    return tuple(result)


def of_one(call: Call) -> Value:
    """An elementwise operation of one tensor."""
    tensor = call.tensor(0, "input")
    return NOTHING if tensor is None else elementwise(call, tensor)


def triangle(call: Call) -> Value:
    """``tril`` and ``triu``, whose result is laid out anew."""
    value = of_one(call)
    if not isinstance(value, Tensor) or value.shape is None:
        return value
    return replace(value, strides=contiguous_strides(value.shape), contiguous=True)


def of_two(call: Call) -> Value:
    """An elementwise operation of two tensors, or of a tensor and a number."""
    return elementwise(call, *call.args[:2])


def of_three(call: Call) -> Value:
    """An elementwise operation of three tensors."""
    return elementwise(call, *call.args[:3])


def like(call: Call) -> Value:
    """A new tensor as large as the first; its numbers are its own."""
    result = of_one(call)
    return replace(result, roles=frozenset(), masked=frozenset(), made=True) if isinstance(result, Tensor) else result


def quotient(call: Call) -> Value:
    """A quotient; weights that are divided by a tensor, such as their own sum, may sum to one along any dimension."""
    result = of_two(call)
    if not isinstance(result, Tensor) or len(call.args) < 2 or result.normalised is None:
        return result
    return replace(result, normalised=None) if isinstance(call.args[1], (Tensor, Unknown)) else result


def normalize(call: Call) -> Value:
    result = of_one(call)
    if not isinstance(result, Tensor):
        return result
    return replace(result, normalised=None, roles=result.roles | {"normed"})


def masked_fill(call: Call) -> Value:
    """Allocates a contiguous clone when nothing but the mask is broadcast."""
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    mask = call.tensor(1, "mask")
    if "scores" in tensor.roles:
        call.interpreter.saw_use(mask, "mask")
    if mask is not None:
        clashes.of_elements(call, [tensor, mask], known=True)
        met_orders(call, [tensor, mask], range(-9, 0), first=False)
    strides = None if tensor.shape is None else layout.contiguous_strides(tensor.shape)
    return replace(tensor, strides=strides, contiguous=True, assumed=False)


def where(call: Call) -> Value:
    return elementwise(call, *call.args[:3]) if len(call.args) == 3 else NOTHING


def softmax(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    if tensor is None:
        return NOTHING
    if tensor.scale is not None:
        for scale in (tensor.scale, *tensor.scale.others):
            call.interpreter.saw_scale(call.node, scale, call.state)
    roles = frozenset({"weights"} if "scores" in tensor.roles else {"features"} if "projection" in tensor.roles else ())
    made = fresh(tensor.shape, roles=roles, inputs=tensor.inputs, normalised=_normalised(call, tensor))
    made = replace(made, folds=tensor.folds) if tensor.folds else made
    if tensor.shape is not None:
        return made
    least = tensor.least if made.normalised is None else max(tensor.least, made.normalised.dim + 1)
    return replace(made, key=call.interpreter.key(call.node), suffix=tensor.suffix, lead=tensor.lead, least=least)


def _normalised(call: Call, tensor: Tensor) -> Normalised | None:
    """Along which dimension a softmax sums to one. Where none is named, ``_get_softmax_dim`` of torch chooses it."""
    _, written = arguments(call.args, call.keywords, "input", "dim")
    written = call.keywords.get("axis") if written is None else written
    dim = as_int(written)
    implicit = (written is None or written == NONE) and "**" not in call.keywords
    if implicit and tensor.rank is not None:
        dim = 0 if tensor.rank in (1, 3) else 1
    if dim is None or not isinstance(call.node, ast.expr):
        return None
    if dim >= 0 and tensor.rank is not None:
        dim -= tensor.rank
    return Normalised(call.node, dim, implicit, masked=tensor.masked)


def layer_norm(call: Call) -> Value:
    """Allocates a contiguous result, whatever the layout of its input."""
    tensor = call.tensor(0, "input")
    if tensor is None:
        return NOTHING
    strides = None if tensor.shape is None else layout.contiguous_strides(tensor.shape)
    roles = tensor.roles | {"normed"}
    return replace(tensor, strides=strides, contiguous=True, assumed=False, part=None, roles=roles)


def is_contiguous(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None or tensor.shape is None or tensor.strides is None or call.keywords:
        return NOTHING
    answer = layout.is_contiguous(tensor.shape, tensor.strides)
    return NOTHING if answer is Answer.UNKNOWN else Const(answer is Answer.ALWAYS)
