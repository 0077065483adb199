"""One transfer function for each tensor operation: shapes, strides and roles in, shapes, strides and roles out.

``x.op(y)`` and ``torch.op(x, y)`` are the same function here: the tensor is argument 0. Whatever is not in the
table gives an unknown value. What each operation does to strides was read off torch itself and is held against it
by ``tests/model/test_exactness.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.model import layout
from mha_lint.model.layout import Answer, Shape, Strides
from mha_lint.model.sizes import ONE, Size, constant, equate, product, symbol
from mha_lint.model.values import (
    NOTHING,
    Const,
    Int,
    Qualified,
    Repeated,
    Sequence,
    ShapeOf,
    State,
    Tensor,
    Unknown,
    Value,
    arguments,
    as_int,
    as_size,
    as_tensor,
    fresh,
    integer,
    of_shape,
)

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter


@dataclass(frozen=True, slots=True)
class Call:
    """One operation being applied: its expression, its arguments, and the state that it may refine."""

    interpreter: Interpreter
    state: State
    node: cst.BaseExpression
    args: tuple[Value, ...]
    keywords: Mapping[str, Value]

    def tensor(self, index: int = 0, *names: str) -> Tensor | None:
        """The tensor argument at ``index`` (or under one of ``names``), its sizes in normal form."""
        value = self.args[index] if index < len(self.args) else None
        for name in names:
            value = value if value is not None else self.keywords.get(name)
        tensor = None if value is None else as_tensor(value)
        return None if tensor is None else normal(tensor, self.state)

    def integer(self, index: int, name: str, default: int | None = None) -> int | None:
        (value,) = arguments(self.args[index:], self.keywords, name) if index < len(self.args) else (
            self.keywords.get(name),
        )  # fmt: skip
        return default if value is None else as_int(value)

    def fresh_size(self, label: str = "n") -> Size:
        return symbol(f"{label}@{self.interpreter.number(self.node)}")


def normal(tensor: Tensor, state: State) -> Tensor:
    if tensor.shape is None or not state.definitions:
        return tensor
    return replace(
        tensor,
        shape=tuple(map(state.normal, tensor.shape)),
        strides=None if tensor.strides is None else tuple(map(state.normal, tensor.strides)),
    )


Transfer = Callable[[Call], Value]
OPERATIONS: dict[str, Transfer] = {}


def operation(*names: str) -> Callable[[Transfer], Transfer]:
    def register(function: Transfer) -> Transfer:
        for name in names:
            OPERATIONS[name] = function
        return function

    return register


# --- sizes given as arguments ------------------------------------------------------------------------------------


def target_sizes(call: Call, values: tuple[Value, ...]) -> list[Size | None] | None:
    """Sizes from ``view(b, t, -1)`` or ``view((b, t, -1))``; an unknown size is None, an unknown rank is None."""
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
        if isinstance(value, (Sequence, Repeated, ShapeOf, Tensor, Qualified)) or (
            isinstance(value, Const) and not isinstance(value.value, bool)
        ):
            return None
        size = as_size(value)
        sizes.append(None if size is None else call.state.normal(size))
    return sizes


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
        elif not holes:
            equate(known, total, call.state.definitions)
            shape = [call.state.normal(size) for size in shape]
    return tuple(shape)


def dims_argument(values: tuple[Value, ...]) -> list[int] | None:
    if len(values) == 1 and isinstance(values[0], Sequence):
        values = values[0].items
    dims = [as_int(value) for value in values]
    return None if any(dim is None for dim in dims) else [dim for dim in dims if dim is not None]


# --- views -------------------------------------------------------------------------------------------------------


def reshaped(call: Call, tensor: Tensor, sizes: list[Size | None] | None, *, copies: bool) -> Value:
    """``view`` (``copies=False``) or ``reshape``; records what a view would meet."""
    if sizes is None:
        key = call.interpreter.key(call.node)
        return Tensor(key=key, contiguous=tensor.contiguous or tensor.given, roles=tensor.roles, merge=tensor.merge)
    shape = solve(call, tensor, sizes)
    tensor = normal(tensor, call.state)
    answer, strides = Answer.UNKNOWN, None
    if tensor.shape is not None and tensor.strides is not None:
        answer, strides = layout.view(tensor.shape, tensor.strides, shape)
    elif tensor.contiguous or tensor.given:
        # Code that lays out its input by a view of its own takes it to be contiguous, as nearly all inputs are.
        answer = Answer.ALWAYS if tensor.contiguous else Answer.UNKNOWN
        strides = layout.contiguous_strides(shape)
    if not copies:
        call.interpreter.saw_view(call.node, answer, tensor, shape)
    elif answer is Answer.NEVER:
        strides = layout.contiguous_strides(shape)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    result = replace(tensor, shape=shape, strides=strides, contiguous=contiguous, last=None, key=None)
    return merged(call, tensor, result)


def merged(call: Call, before: Tensor, after: Tensor) -> Tensor:
    """Mark ``after`` where it holds the heads of a multi-head context side by side in one dimension."""
    if "context" not in before.roles or before.width is None or before.batch is None or after.shape is None:
        return after
    width, batch = call.state.normal(before.width), call.state.normal(before.batch)
    held = before.shape or ()
    for size in after.shape:
        heads = size.divide(width)
        if heads is None or heads == ONE or size in held:
            continue
        if batch.divide(heads) is not None and batch != heads or batch == heads:
            return replace(after.having("merged"), merge=call.node)
    return after


@operation("view")
def _view(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    if len(call.args) == 2 and isinstance(call.args[1], ShapeOf):
        return replace(tensor, shape=None, strides=None, contiguous=False)
    values = call.args[1:] or tuple(value for name, value in call.keywords.items() if name in ("size", "shape"))
    return reshaped(call, tensor, target_sizes(call, values), copies=False)


@operation("reshape")
def _reshape(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    values = call.args[1:] or tuple(value for name, value in call.keywords.items() if name == "shape")
    return NOTHING if tensor is None else reshaped(call, tensor, target_sizes(call, values), copies=True)


@operation("flatten")
def _flatten(call: Call) -> Value:
    tensor = call.tensor()
    start, end = call.integer(1, "start_dim", 0), call.integer(2, "end_dim", -1)
    if tensor is None or tensor.shape is None or start is None or end is None:
        return NOTHING if tensor is None else replace(tensor, shape=None, strides=None, contiguous=tensor.contiguous)
    rank = len(tensor.shape)
    start, end = start % rank, end % rank
    sizes: list[Size | None] = [
        *tensor.shape[:start], product(tensor.shape[start : end + 1]), *tensor.shape[end + 1 :]
    ]  # fmt: skip
    return reshaped(call, tensor, sizes, copies=True)


@operation("unflatten")
def _unflatten(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    (sizes_value,) = arguments(call.args[2:], call.keywords, "sizes") if len(call.args) > 2 else (
        call.keywords.get("sizes"),
    )  # fmt: skip
    sizes = None if sizes_value is None else target_sizes(call, (sizes_value,))
    if tensor is None or dim is None or sizes is None:
        return NOTHING
    if tensor.shape is None:
        split = solve(call, of_shape((tensor.last or call.fresh_size("c"),)), sizes) if dim == -1 else None
        return replace(tensor, key=call.interpreter.key(call.node), last=None, split=split)
    dim %= len(tensor.shape)
    inner = solve(call, of_shape((tensor.shape[dim],)), sizes)
    return reshaped(call, tensor, [*tensor.shape[:dim], *inner, *tensor.shape[dim + 1 :]], copies=True)


def permuted(call: Call, tensor: Tensor, order: list[int]) -> Tensor:
    if tensor.shape is None or len(order) != len(tensor.shape):
        key = call.interpreter.key(call.node)
        return replace(tensor, shape=None, strides=None, contiguous=False, last=None, split=None, key=key)
    shape = tuple(tensor.shape[dim] for dim in order)
    strides = None if tensor.strides is None else tuple(tensor.strides[dim] for dim in order)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    return replace(tensor, shape=shape, strides=strides, contiguous=contiguous, key=None)


@operation("transpose", "swapaxes", "swapdims")
def _transpose(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    first, second = call.integer(1, "dim0"), call.integer(2, "dim1")
    first = first if first is not None else call.integer(1, "axis0")
    second = second if second is not None else call.integer(2, "axis1")
    if tensor is None:
        return NOTHING
    if tensor.split is not None and len(tensor.split) == 2 and {first, second} == {1, 2}:
        # Heads that were just split off move across the tokens: (b, t, h, d) -> (b, h, t, d).
        shape = (call.fresh_size("b"), call.fresh_size("t"), *tensor.split)
        tensor = (fresh if tensor.contiguous else of_shape)(shape, roles=tensor.roles)
    if tensor.shape is None or first is None or second is None:
        return permuted(call, tensor, [])
    rank = len(tensor.shape)
    if not (-rank <= first < rank and -rank <= second < rank):
        return NOTHING
    order = list(range(rank))
    order[first % rank], order[second % rank] = second % rank, first % rank
    return permuted(call, tensor, order)


@operation("permute")
def _permute(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    dims = dims_argument(call.args[1:] or tuple(v for n, v in call.keywords.items() if n == "dims"))
    if tensor is None or not dims:
        return NOTHING if tensor is None else permuted(call, tensor, [])
    if tensor.shape is None and tensor.key is not None:
        tensor = call.interpreter.refine(call.state, tensor, len(dims))
    if tensor.shape is None or sorted(dim % len(dims) for dim in dims) != list(range(len(tensor.shape))):
        return permuted(call, tensor, [])
    return permuted(call, tensor, [dim % len(dims) for dim in dims])


@operation("movedim", "moveaxis")
def _movedim(call: Call) -> Value:
    tensor, source, target = call.tensor(), call.integer(1, "source"), call.integer(2, "destination")
    if tensor is None or tensor.shape is None or source is None or target is None:
        return NOTHING if tensor is None else permuted(call, tensor, [])
    rank = len(tensor.shape)
    order = [dim for dim in range(rank) if dim != source % rank]
    order.insert(target % rank, source % rank)
    return permuted(call, tensor, order)


@operation("mT", "t", "T", "adjoint")
def _matrix_transpose(call: Call) -> Value:
    """``.mT`` and ``.t()``; ``.T`` reverses all dimensions, which for a matrix is the same."""
    tensor = call.tensor()
    if tensor is None or tensor.shape is None:
        return NOTHING if tensor is None else permuted(call, tensor, [])
    order = list(range(len(tensor.shape)))
    if isinstance(call.node, cst.Attribute) and call.node.attr.value == "T":
        return permuted(call, tensor, order[::-1])
    return permuted(call, tensor, [*order[:-2], *order[-2:][::-1]])


@operation("squeeze")
def _squeeze(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None or tensor.shape[dim] != ONE:
        return NOTHING if tensor is None else Tensor(roles=tensor.roles, merge=tensor.merge)
    return without(tensor, dim % len(tensor.shape))


@operation("unsqueeze")
def _unsqueeze(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None:
        return NOTHING if tensor is None else Tensor(roles=tensor.roles, merge=tensor.merge)
    return inserted(tensor, dim % (len(tensor.shape) + 1))


def inserted(tensor: Tensor, dim: int) -> Tensor:
    """The tensor with a new dimension of size 1 before ``dim``, its stride as torch chooses it."""
    assert tensor.shape is not None
    strides = None
    if tensor.strides is not None:
        step = tensor.shape[dim] * tensor.strides[dim] if dim < len(tensor.shape) else ONE
        strides = (*tensor.strides[:dim], step, *tensor.strides[dim:])
    return replace(tensor, shape=(*tensor.shape[:dim], ONE, *tensor.shape[dim:]), strides=strides, key=None)


def without(tensor: Tensor, dim: int) -> Tensor:
    """``select``: the dimension is gone, the strides of the others stay."""
    assert tensor.shape is not None
    shape = tensor.shape[:dim] + tensor.shape[dim + 1 :]
    strides = None if tensor.strides is None else tensor.strides[:dim] + tensor.strides[dim + 1 :]
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    return replace(tensor, shape=shape, strides=strides, contiguous=contiguous, key=None)


def resized(tensor: Tensor, dim: int, size: Size) -> Tensor:
    """A part of the tensor along ``dim``: the size changes, the strides stay."""
    assert tensor.shape is not None
    shape = (*tensor.shape[:dim], size, *tensor.shape[dim + 1 :])
    contiguous = tensor.strides is not None and layout.is_contiguous(shape, tensor.strides) is Answer.ALWAYS
    return replace(tensor, shape=shape, contiguous=contiguous, key=None)


@operation("select")
def _select(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    if tensor is None or tensor.shape is None or dim is None:
        return NOTHING
    return without(tensor, dim % len(tensor.shape))


@operation("narrow")
def _narrow(call: Call) -> Value:
    tensor, dim = call.tensor(), call.integer(1, "dim")
    size = as_size(arguments(call.args, call.keywords, "input", "dim", "start", "length")[3])
    if tensor is None or tensor.shape is None or dim is None or size is None:
        return NOTHING
    return resized(tensor, dim % len(tensor.shape), size)


@operation("expand", "broadcast_to")
def _expand(call: Call) -> Value:
    tensor = call.tensor()
    sizes = target_sizes(call, call.args[1:])
    if tensor is None or tensor.shape is None or sizes is None or len(sizes) < len(tensor.shape):
        return NOTHING if tensor is None else Tensor(roles=tensor.roles)
    new = len(sizes) - len(tensor.shape)
    minus_one = constant(-1)
    shape = tuple(
        tensor.shape[index - new] if size == minus_one and index >= new else size or call.fresh_size(f"n{index}")
        for index, size in enumerate(sizes)
    )
    strides = None if tensor.strides is None else layout.expand_strides(tensor.shape, tensor.strides, shape)
    return replace(tensor, shape=shape, strides=strides, contiguous=False, key=None)


@operation("expand_as")
def _expand_as(call: Call) -> Value:
    tensor, other = call.tensor(), call.tensor(1, "other")
    if tensor is None or tensor.shape is None or other is None or other.shape is None:
        return NOTHING
    strides = None if tensor.strides is None else layout.expand_strides(tensor.shape, tensor.strides, other.shape)
    return replace(tensor, shape=other.shape, strides=strides, contiguous=False, key=None)


# --- parts -------------------------------------------------------------------------------------------------------


@operation("chunk", "tensor_split")
def _chunk(call: Call) -> Value:
    tensor, count, dim = call.tensor(), call.integer(1, "chunks"), call.integer(2, "dim", 0)
    if tensor is None or count is None or not 0 < count < 64:
        return Repeated(NOTHING)
    if tensor.shape is None or dim is None:
        last = tensor.last.divide(constant(count)) if tensor.last is not None and dim == -1 else None
        part = Tensor(key=None, last=last, roles=tensor.roles)
        return Sequence(tuple(replace(part, key=f"{call.interpreter.key(call.node)}[{i}]") for i in range(count)))
    dim %= len(tensor.shape)
    whole = tensor.shape[dim]
    size = whole.divide(constant(count))
    if size is None and whole.symbol is not None:
        size = call.fresh_size("part")
        equate(whole, constant(count) * size, call.state.definitions)
        tensor = normal(tensor, call.state)
    if size is None:
        return Repeated(NOTHING)
    return Sequence((resized(tensor, dim, call.state.normal(size)),) * count)


@operation("split", "split_with_sizes")
def _split(call: Call) -> Value:
    tensor = call.tensor()
    _, sizes_value, dim_value = arguments(call.args, call.keywords, "input", "split_size_or_sections", "dim")
    sizes_value = sizes_value if sizes_value is not None else call.keywords.get("split_size")
    dim = 0 if dim_value is None else as_int(dim_value)
    if tensor is None or tensor.shape is None or dim is None:
        return Repeated(NOTHING)
    dim %= len(tensor.shape)
    if isinstance(sizes_value, Sequence):
        sizes = [as_size(item) for item in sizes_value.items]
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
        return Repeated(part)
    return Sequence((part,) * count.constant)


@operation("unbind")
def _unbind(call: Call) -> Value:
    tensor, dim = call.tensor(0, "input"), call.integer(1, "dim", 0)
    if tensor is None or dim is None:
        return Repeated(NOTHING)
    return unbound(call, tensor, dim)


def unbound(call: Call, tensor: Tensor, dim: int) -> Value:
    part = without(tensor, dim % len(tensor.shape)) if tensor.shape else Tensor(roles=tensor.roles)
    part = replace(part, part=call.node)
    count = tensor.shape[dim].constant if tensor.shape else None
    call.interpreter.saw_unbind(call.node, tensor, dim, call.state.inference)
    return Sequence((part,) * count) if count is not None and 0 < count < 64 else Repeated(part)


# --- allocation --------------------------------------------------------------------------------------------------


@operation("contiguous")
def _contiguous(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None or call.keywords:
        return NOTHING if tensor is None else replace(tensor, strides=None, contiguous=False)
    if tensor.shape is None:
        return replace(tensor, contiguous=True)
    return replace(tensor, strides=layout.contiguous_strides(tensor.shape), contiguous=True)


@operation(
    "clone", "to", "type", "type_as", "float", "half", "double", "bfloat16", "int", "long", "bool", "cuda", "cpu"
)
def _clone(call: Call) -> Value:
    """A dense tensor keeps its strides (``torch.preserve_format``)."""
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    if "memory_format" in call.keywords:
        plain = call.keywords["memory_format"] == Qualified("torch.contiguous_format")
        strides = layout.contiguous_strides(tensor.shape) if plain and tensor.shape is not None else None
        return replace(tensor, strides=strides, contiguous=plain)
    return elementwise(call, tensor)


@operation("detach", "requires_grad_", "data", "real", "alias")
def _same(call: Call) -> Value:
    return call.tensor() or NOTHING


@operation("pad")
def _pad(call: Call) -> Value:
    """Allocates; a padded dimension has a new size, and zero padding keeps the layout."""
    tensor = call.tensor(0, "input")
    _, pads = arguments(call.args, call.keywords, "input", "pad")
    if tensor is None or tensor.shape is None or not isinstance(pads, Sequence) or len(pads.items) % 2:
        return NOTHING
    shape = list(tensor.shape)
    for index in range(len(pads.items) // 2):
        before, after = (as_size(pad) for pad in pads.items[2 * index : 2 * index + 2])
        dim = len(shape) - 1 - index
        shape[dim] = call.fresh_size(f"n{dim}") if before is None or after is None else shape[dim] + before + after
    result = tuple(map(call.state.normal, shape))
    return fresh(result) if tensor.contiguous or tensor.given else of_shape(result)


@operation("repeat", "tile")
def _repeat(call: Call) -> Value:
    tensor, sizes = call.tensor(), target_sizes(call, call.args[1:])
    if tensor is None or tensor.shape is None or sizes is None or len(sizes) < len(tensor.shape):
        return NOTHING
    shape = (ONE,) * (len(sizes) - len(tensor.shape)) + tensor.shape
    return fresh(
        tuple(size * (times if times is not None else call.fresh_size(f"n{i}"))
              for i, (size, times) in enumerate(zip(shape, sizes, strict=True))),
        roles=tensor.roles,
    )  # fmt: skip


@operation("repeat_interleave")
def _repeat_interleave(call: Call) -> Value:
    tensor = call.tensor()
    _, times_value, dim_value = arguments(call.args, call.keywords, "input", "repeats", "dim")
    times, dim = as_size(times_value), as_int(dim_value)
    if tensor is None or tensor.shape is None or times is None or dim is None:
        return NOTHING
    dim %= len(tensor.shape)
    return fresh(
        (*tensor.shape[:dim], tensor.shape[dim] * call.state.normal(times), *tensor.shape[dim + 1 :]),
        roles=tensor.roles,
    )


@operation("cat", "concat", "concatenate")
def _cat(call: Call) -> Value:
    tensors_value, dim_value = arguments(call.args, call.keywords, "tensors", "dim")
    dim = 0 if dim_value is None else as_int(dim_value)
    match tensors_value:
        case Repeated(Tensor() as item, count):
            return heads_joined(call, item, count, dim)
        case Sequence(items) if items and all(isinstance(item, Tensor) for item in items):
            tensors = [normal(item, call.state) for item in items if isinstance(item, Tensor)]
        case _:
            return NOTHING
    roles = frozenset().union(*(tensor.roles for tensor in tensors))
    first = tensors[0]
    ranks = {tensor.rank for tensor in tensors if tensor.rank is not None}
    if dim is None or len(ranks) != 1:
        return Tensor(roles=roles, merge=first.merge)
    rank = ranks.pop()
    model = next(tensor.shape for tensor in tensors if tensor.shape is not None)
    sizes = [tensor.shape[dim] if tensor.shape is not None else None for tensor in tensors]
    total = sum((size for size in sizes if size is not None), constant(0)) if None not in sizes else call.fresh_size()
    shape = tuple(total if index == dim % rank else size for index, size in enumerate(model))
    known = {"roles": roles, "merge": first.merge, "batch": first.batch, "width": first.width}
    plain = len(shape) not in (4, 5) or all(tensor.contiguous for tensor in tensors)
    return (fresh if plain else of_shape)(shape, **known)  # images may be channels-last, and stay so


def heads_joined(call: Call, item: Tensor, count: Size | None, dim: int | None) -> Value:
    """``torch.cat([head(x) for head in heads], dim=-1)``."""
    item = normal(item, call.state)
    roles = item.roles
    if "context" in roles and (dim == -1 or (item.rank is not None and dim == item.rank - 1)):
        roles = roles | {"merged"}
    merge = call.node if "merged" in roles else None
    if item.shape is None or dim is None:
        last = item.last * call.state.normal(count) if dim == -1 and item.last and count else None
        return Tensor(contiguous=True, last=last, roles=roles, merge=merge, key=call.interpreter.key(call.node))
    count = count if count is not None else call.fresh_size("heads")
    dim %= len(item.shape)
    shape = (*item.shape[:dim], item.shape[dim] * call.state.normal(count), *item.shape[dim + 1 :])
    return fresh(shape, roles=roles, merge=merge)


@operation("stack")
def _stack(call: Call) -> Value:
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
    return fresh(shape, roles=first.roles, width=first.width, batch=batch)


def elementwise(call: Call, *values: Value) -> Value:
    """The result of an elementwise operation on tensors and numbers, as TensorIterator lays it out."""
    tensors = [normal(value, call.state) for value in values if isinstance(value, Tensor)]
    if not tensors:
        unnamed = [value for value in values if isinstance(value, Unknown)]
        return Tensor(key=call.interpreter.key(call.node)) if unnamed else NOTHING
    unknown = any(isinstance(value, Unknown) for value in values)
    roles = frozenset().union(*(tensor.roles - {"parameter"} for tensor in tensors))
    merge = next((tensor.merge for tensor in tensors if tensor.merge is not None), None)
    first = values[0] if isinstance(values[0], Tensor) else tensors[0]
    part = first.part if isinstance(first, Tensor) else None
    ranked = [tensor for tensor in tensors if tensor.shape is not None]
    marked = next((tensor for tensor in tensors if tensor.width is not None), None)
    kept = {"roles": roles, "merge": merge, "part": part,
            "batch": marked.batch if marked else None, "width": marked.width if marked else None}  # fmt: skip
    if len(ranked) < len(tensors):
        if len(tensors) == 1:
            return Tensor(None, contiguous=tensors[0].contiguous and not unknown, last=tensors[0].last,
                          key=call.interpreter.key(call.node), **kept)  # type: ignore[arg-type]  # fmt: skip
        unknown = True
    if not ranked:
        return Tensor(key=call.interpreter.key(call.node), **kept)  # type: ignore[arg-type]
    shape = broadcast(call.state, [tensor.shape for tensor in ranked if tensor.shape is not None])
    strides: Strides | None = None
    leading = values[0]
    if all(tensor.contiguous for tensor in ranked) and not unknown:
        strides = layout.contiguous_strides(shape)
    elif isinstance(leading, Tensor) and leading.shape is not None:
        full = normal(leading, call.state)
        if full.shape == shape and full.strides is not None:
            strides = layout.dense_like(shape, full.strides)
    contiguous = strides is not None and layout.is_contiguous(shape, strides) is Answer.ALWAYS
    return Tensor(shape, strides, contiguous, **kept)  # type: ignore[arg-type]


def broadcast(state: State, shapes: list[Shape]) -> Shape:
    rank = max(map(len, shapes))
    result: list[Size] = [ONE] * rank
    for shape in shapes:
        for index, size in enumerate(shape, start=rank - len(shape)):
            if result[index] == ONE:
                result[index] = size
            elif size != ONE and size != result[index]:
                equate(size, result[index], state.definitions)
                result[index] = state.normal(result[index])
    return tuple(result)


def _unary(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    return NOTHING if tensor is None else elementwise(call, tensor)


for _name in (
    "relu gelu silu sigmoid tanh exp log sqrt rsqrt abs neg square sin cos erf elu leaky_relu softplus relu6 mish "
    "dropout dropout1d dropout2d alpha_dropout feature_dropout clamp clamp_min clamp_max clip nan_to_num bernoulli round floor ceil sign "
    "zeros_like ones_like rand_like randn_like empty_like full_like logical_not isnan isinf hardtanh hardswish"
).split():
    OPERATIONS[_name] = _unary


def _binary(call: Call) -> Value:
    return elementwise(call, *call.args[:2])


for _name in "add sub mul div true_divide multiply divide subtract pow maximum minimum eq ne lt le gt ge logical_and logical_or".split():
    OPERATIONS[_name] = _binary


@operation("masked_fill")
def _masked_fill(call: Call) -> Value:
    """Allocates a contiguous clone when nothing but the mask is broadcast."""
    tensor = call.tensor()
    if tensor is None:
        return NOTHING
    strides = None if tensor.shape is None else layout.contiguous_strides(tensor.shape)
    return replace(tensor, strides=strides, contiguous=True)


@operation("where")
def _where(call: Call) -> Value:
    return elementwise(call, *call.args[:3]) if len(call.args) == 3 else NOTHING


@operation("softmax", "log_softmax", "softmin")
def _softmax(call: Call) -> Value:
    tensor = call.tensor(0, "input")
    if tensor is None:
        return NOTHING
    roles = frozenset({"weights"} if "scores" in tensor.roles else {"features"} if "projection" in tensor.roles else ())
    if tensor.shape is None:
        return Tensor(contiguous=True, key=call.interpreter.key(call.node), roles=roles)
    return fresh(tensor.shape, roles=roles)


@operation("layer_norm")
def _layer_norm(call: Call) -> Value:
    """Allocates a contiguous result, whatever the layout of its input."""
    tensor = call.tensor(0, "input")
    if tensor is None:
        return NOTHING
    strides = None if tensor.shape is None else layout.contiguous_strides(tensor.shape)
    return replace(tensor, strides=strides, contiguous=True, part=None)


@operation("is_contiguous")
def _is_contiguous(call: Call) -> Value:
    tensor = call.tensor()
    if tensor is None or tensor.shape is None or tensor.strides is None or call.keywords:
        return NOTHING
    answer = layout.is_contiguous(tensor.shape, tensor.strides)
    return NOTHING if answer is Answer.UNKNOWN else Const(answer is Answer.ALWAYS)


# --- products ----------------------------------------------------------------------------------------------------


@operation("matmul", "bmm", "mm")
def _matmul(call: Call) -> Value:
    left, right = call.tensor(0, "input"), call.tensor(1, "other", "mat2")
    if left is None or right is None:
        return NOTHING
    return multiplied(call, left, right)


@operation("baddbmm", "addmm")
def _baddbmm(call: Call) -> Value:
    left, right = call.tensor(1, "batch1"), call.tensor(2, "batch2")
    return NOTHING if left is None or right is None else multiplied(call, left, right)


def multiplied(call: Call, left: Tensor, right: Tensor) -> Value:
    """``left @ right``: bmm allocates a contiguous result; roles say which product of attention it is."""
    if left.shape is not None and right.shape is not None and left.shape and right.shape:
        inner = right.shape[-2] if len(right.shape) > 1 else right.shape[0]
        equate(left.shape[-1], inner, call.state.definitions)
        left, right = normal(left, call.state), normal(right, call.state)
    shape = product_shape(call, left, right)
    roles, width_at = product_roles(left, right)
    call.interpreter.saw_product(left, right)
    key = call.interpreter.key(call.node)
    if shape is None:
        last = right.last if "weights" in left.roles else None
        return Tensor(contiguous=True, key=key, last=last, roles=roles)
    contiguous = len(shape) >= 2 and not (right.rank is not None and left.rank is not None and left.rank < right.rank)
    result = fresh(shape, roles=roles) if contiguous else of_shape(shape, roles=roles)
    if "context" in roles and len(shape) >= 3:
        result = replace(result, batch=product(shape[:-2]), width=shape[width_at])
    return result


def product_shape(call: Call, left: Tensor, right: Tensor) -> Shape | None:
    rank = max(left.rank or 0, right.rank or 0)
    if rank < 2 or (left.rank is None and rank < 3) or (left.rank is not None and left.rank < 2):
        return None
    if right.rank is not None and right.rank < 2:
        return None
    batches = [tensor.shape[:-2] for tensor in (left, right) if tensor.shape is not None]
    batch = broadcast(call.state, batches) if batches else ()
    rows = left.shape[-2] if left.shape is not None else call.fresh_size("rows")
    columns = right.shape[-1] if right.shape is not None else call.fresh_size("columns")
    return (*map(call.state.normal, batch), rows, columns)


def maps(tensor: Tensor) -> bool:
    """Whether the tensor is a parameter that maps; one with a leading 1, broadcast over a batch, is a learned query."""
    return "parameter" in tensor.roles and not (tensor.shape and len(tensor.shape) > 2 and tensor.shape[0] == ONE)


def product_roles(left: Tensor, right: Tensor) -> tuple[frozenset[str], int]:
    """The roles of a product, and, for a context, which dimension holds the values."""
    if maps(left) or maps(right):
        return mapped_roles(left.roles | right.roles), -1
    if "weights" in left.roles:
        return frozenset({"context"}), -1
    if "weights" in right.roles:
        return frozenset({"context"}), -2
    if left.roles & {"merged", "projected"} or right.roles & {"merged", "projected"}:
        return frozenset({"projected"}), -1
    features = (left.roles | right.roles) & {"features"}
    if features and "scores" in left.roles | right.roles:  # linear attention: q (k^T v)
        return frozenset({"context"}), -1 if "scores" in right.roles else -2
    return frozenset({"scores"}) | features, -1


def mapped_roles(roles: frozenset[str]) -> frozenset[str]:
    """Roles after a learned linear map."""
    if roles & {"merged", "context", "projected"}:
        return frozenset({"projection", "projected"})
    return frozenset({"projection"})


@operation("einsum")
def _einsum(call: Call) -> Value:
    match call.args:
        case (Const(str(equation)), Sequence(operands)):
            pass
        case (Const(str(equation)), *rest):
            operands = tuple(rest)
        case _:
            return NOTHING
    tensors = [as_tensor(value) for value in operands]
    sides = equation.replace(" ", "").split("->")
    inputs = sides[0].split(",")
    if len(tensors) != 2 or len(sides) != 2 or len(inputs) != 2 or "." in equation or None in tensors:
        roles = (
            mapped_roles(frozenset()) if any(t is not None and "parameter" in t.roles for t in tensors) else frozenset()
        )
        return Tensor(key=call.interpreter.key(call.node), roles=roles)
    left, right = (normal(tensor, call.state) for tensor in tensors if tensor is not None)
    sizes: dict[str, Size] = {}
    for letters, tensor in zip(inputs, (left, right), strict=True):
        if tensor.shape is None or len(tensor.shape) != len(letters):
            continue
        for letter, size in zip(letters, tensor.shape, strict=True):
            if letter in sizes and sizes[letter] != size:
                equate(size, sizes[letter], call.state.definitions)
            sizes[letter] = call.state.normal(size)
    call.interpreter.saw_product(left, right)
    roles, _ = product_roles(left, right)
    output = sides[1]
    shape = tuple(sizes[letter] if letter in sizes else call.fresh_size(letter) for letter in output)
    result = Tensor(shape, _einsum_strides(inputs, output, shape), roles=roles)
    if result.strides is not None:
        result = replace(result, contiguous=layout.is_contiguous(shape, result.strides) is Answer.ALWAYS)
    if "context" in roles:
        weights, values = (inputs[0], inputs[1]) if "weights" in left.roles else (inputs[1], inputs[0])
        width = [letter for letter in output if letter in values and letter not in weights]
        shared = [letter for letter in output if letter in values and letter in weights]
        if len(width) == 1:
            result = replace(
                result,
                width=shape[output.index(width[0])],
                batch=product(shape[output.index(letter)] for letter in shared),
            )
    return result


def _einsum_strides(inputs: list[str], output: str, shape: Shape) -> Strides | None:
    """Strides of a contraction of two operands: bmm lays out shared, left and right letters in that order.

    Source: ``sumproduct_pair`` in ATen/native/Linear.cpp.
    """
    left, right = inputs
    if not set(left) & set(right) - set(output) or len(set(left)) < len(left) or len(set(right)) < len(right):
        return None  # nothing contracted, or a diagonal
    order = sorted(output, key=lambda letter: (2 if letter not in left else letter not in right, output.index(letter)))
    laid_out = layout.contiguous_strides(tuple(shape[output.index(letter)] for letter in order))
    return tuple(laid_out[order.index(letter)] for letter in output)


@operation("scaled_dot_product_attention")
def _sdpa(call: Call) -> Value:
    """The result's strides depend on the backend that runs (math, flash, efficient, cuDNN): unknown."""
    query, key, value = call.tensor(0, "query"), call.tensor(1, "key"), call.tensor(2, "value")
    if query is None or key is None or value is None:
        return NOTHING
    call.interpreter.saw_product(query, key)
    call.interpreter.saw_product(query, value)
    known = query.shape or value.shape
    if known is None:
        return Tensor(key=call.interpreter.key(call.node), last=value.last, roles=frozenset({"context"}))
    width = value.shape[-1] if value.shape is not None else known[-1]
    rows = query.shape[-2] if query.shape is not None else call.fresh_size("rows")
    shape = (*known[:-2], rows, width)
    return of_shape(shape, roles=frozenset({"context"}), batch=product(shape[:-2]), width=width)


@operation("linear")
def _linear(call: Call) -> Value:
    tensor, weight = call.tensor(0, "input"), call.tensor(1, "weight")
    if tensor is None:
        return NOTHING
    width = weight.shape[0] if weight is not None and weight.shape is not None and len(weight.shape) == 2 else None
    return linear(call, tensor, None, width)


def linear(call: Call, tensor: Tensor, width_in: Size | None, width_out: Size | None) -> Tensor:
    """A learned map of the last dimension (..., c) -> (..., e); the result is newly allocated."""
    roles = mapped_roles(tensor.roles)
    width_out = width_out if width_out is not None else call.fresh_size("width")
    if tensor.shape is None:
        return Tensor(contiguous=True, last=width_out, key=call.interpreter.key(call.node), roles=roles)
    if width_in is not None:
        equate(tensor.shape[-1], width_in, call.state.definitions)
    shape = (*tensor.shape[:-1], width_out)
    return normal(fresh(shape, roles=roles), call.state)


# --- questions about tensors -------------------------------------------------------------------------------------


@operation("size")
def _size(call: Call) -> Value:
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
    if dim == -1 and tensor.last is not None:
        return Int(tensor.last)
    return NOTHING if tensor.key is None else Int(symbol(f"{tensor.key}.shape[{dim}]"))


@operation("dim", "ndimension", "ndim")
def _dim(call: Call) -> Value:
    tensor = call.tensor()
    return NOTHING if tensor is None or tensor.rank is None else integer(tensor.rank)


@operation("numel", "nelement")
def _numel(call: Call) -> Value:
    tensor = call.tensor()
    return NOTHING if tensor is None or tensor.shape is None else Int(layout.numel(tensor.shape))


@operation("zeros", "ones", "empty", "rand", "randn", "full", "new_zeros", "new_ones", "new_empty", "new_full")
def _filled(call: Call) -> Value:
    values = call.args
    if isinstance(values[0], Tensor) if values else False:
        values = values[1:]
    elif call.interpreter.is_method(call.node):
        values = values[1:]
    if values and isinstance(values[0], Sequence):
        values = values[:1]
    sizes = target_sizes(call, values) if values else None
    if sizes is None:
        return Tensor(contiguous=True, key=call.interpreter.key(call.node))
    return fresh(tuple(call.fresh_size(f"n{i}") if size is None else size for i, size in enumerate(sizes)))


@operation(
    "sum",
    "mean",
    "amax",
    "amin",
    "logsumexp",
    "cumsum",
    "tril",
    "triu",
    "flip",
    "roll",
    "gather",
    "index_select",
    "norm",
    "std",
    "var",
)
def _somehow(call: Call) -> Value:
    """Operations whose result's shape nobody has asked for so far."""
    return Tensor()
