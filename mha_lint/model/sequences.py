"""Layers of torch that take sequences: recurrent ones, and those of attention. They differ in which dimension is first.

Source: the signatures in torch/nn/modules/{rnn,activation,transformer}.py.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from mha_lint.model.axes import Source
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size
from mha_lint.model.values import (
    NOTHING,
    Const,
    Layer,
    Sequence,
    Tensor,
    Value,
    as_size,
    as_tensor,
    of_shape,
)

# At which place ``batch_first`` is among the arguments of the constructor.
ATTENTION = {
    "MultiheadAttention": 8,
    "TransformerEncoderLayer": 6,
    "TransformerDecoderLayer": 6,
    "Transformer": 10,
}
RECURRENT = {"LSTM": 4, "GRU": 4, "RNN": 5}
STACKS = frozenset({"TransformerEncoder", "TransformerDecoder"})  # of layers that they are given
KINDS = frozenset(ATTENTION) | frozenset(RECURRENT) | STACKS

_ROLES = frozenset({"projection", "projected"})

# The tensors of sequences that each layer is given, and its masks: of the first's tokens by the second's, and of
# which of the second's tokens are left out, each with the places of these two.
_GIVEN: Mapping[str, tuple[str, ...]] = {
    "MultiheadAttention": ("query", "key", "value"),
    "TransformerEncoderLayer": ("src",),
    "TransformerEncoder": ("src",),
    "TransformerDecoderLayer": ("tgt", "memory"),
    "TransformerDecoder": ("tgt", "memory"),
    "Transformer": ("src", "tgt"),
}
_MASKS: Mapping[str, tuple[tuple[int, str, int, int], ...]] = {
    "MultiheadAttention": ((5, "attn_mask", 0, 1),),
    "TransformerEncoderLayer": ((1, "src_mask", 0, 0),),
    "TransformerEncoder": ((1, "mask", 0, 0),),
    "TransformerDecoderLayer": ((2, "tgt_mask", 0, 0), (3, "memory_mask", 0, 1)),
    "TransformerDecoder": ((2, "tgt_mask", 0, 0), (3, "memory_mask", 0, 1)),
    "Transformer": ((2, "src_mask", 0, 0), (3, "tgt_mask", 1, 1)),
}
_PADDING: Mapping[str, tuple[tuple[int, str, int], ...]] = {
    "MultiheadAttention": ((3, "key_padding_mask", 1),),
    "TransformerEncoderLayer": ((2, "src_key_padding_mask", 0),),
    "TransformerEncoder": ((2, "src_key_padding_mask", 0),),
    "TransformerDecoderLayer": ((4, "tgt_key_padding_mask", 0), (5, "memory_key_padding_mask", 1)),
    "TransformerDecoder": ((4, "tgt_key_padding_mask", 0), (5, "memory_key_padding_mask", 1)),
    "Transformer": ((5, "src_key_padding_mask", 0), (6, "tgt_key_padding_mask", 1)),
}


def build(name: str, node: ast.Call, args: tuple[Value, ...], keywords: Mapping[str, Value]) -> Layer:
    """The layer. Its first item says whether the batch comes first, and the second how many heads attention has.

    The only item of a stack is the layer that is stacked.
    """
    if name in STACKS:
        stacked = args[0] if args else next((keywords[each] for each in keywords if each.endswith("_layer")), NOTHING)
        return Layer(name, items=(stacked,), node=node)
    at = {**ATTENTION, **RECURRENT}[name]
    flag: Value = args[at] if at < len(args) else keywords.get("batch_first", Const(False))
    heads: Value = args[1] if len(args) > 1 else keywords.get("num_heads", NOTHING)
    unsure = "**" in keywords or any(isinstance(each, ast.Starred) for each in node.args)
    return Layer(name, items=(NOTHING if unsure else flag, heads), node=node)


def apply(layer: Layer, call: Call) -> Value:
    """The result of calling the layer."""
    if layer.kind in RECURRENT:
        return _recurrent(layer, call)
    made = layer
    if layer.kind in STACKS and isinstance(layer.items[0], Layer) and layer.items[0].kind in ATTENTION:
        made = layer.items[0]
    names = _GIVEN[layer.kind]
    given = [_argument(call, index, name) for index, name in enumerate(names)]
    if made.kind in ATTENTION and made.node is not None:
        _note(made, layer.kind, call, given)
    like = given[1] if layer.kind == "Transformer" else given[0]
    result = Tensor(roles=_ROLES) if like is None else _like(call, like)
    return Sequence((result, NOTHING)) if layer.kind == "MultiheadAttention" else result


def _argument(call: Call, index: int, name: str) -> Tensor | None:
    value = call.args[index] if index < len(call.args) else call.keywords.get(name)
    tensor = None if value is None else as_tensor(value)
    return None if tensor is None else normal(tensor, call.state)


def batch_first(layer: Layer) -> bool | None:
    """Whether a layer takes (b, t, c); None where its flag is not known."""
    flag = layer.items[0] if layer.items else NOTHING
    return flag.value if isinstance(flag, Const) and isinstance(flag.value, bool) else None


def heads(layer: Layer) -> Size | None:
    """How many heads ``nn.MultiheadAttention`` has."""
    return as_size(layer.items[1]) if len(layer.items) > 1 else None


def _note(made: Layer, kind: str, call: Call, given: list[Tensor | None]) -> None:
    assert made.node is not None
    flag = batch_first(made)
    tensors = tuple(dict.fromkeys(tensor for tensor in given if tensor is not None))
    if flag:
        for tensor in tensors:
            call.interpreter.axes.tell_front(tensor, Source.LAYER, batch_first=True)
    told = {(Source.MASK, first) for first in _told_by_masks(kind, call, given)}
    told |= {(Source.QUERIES, first) for first in _told_by_queries(call, given)}
    call.interpreter.saw_sequences(made.node, call, flag, tensors, frozenset(told))


def _told_by_masks(kind: str, call: Call, given: list[Tensor | None]) -> list[bool]:
    """A mask has as many rows as there are queries, and as many columns as keys; torch raises for any other."""
    axes = call.interpreter.axes
    found: list[bool] = []

    def sizes(at: int) -> tuple[Size | None, Size | None]:
        tensor = given[at] if at < len(given) else None
        tensor = given[0] if tensor is None else tensor
        if tensor is None:
            return None, None
        return axes.at(tensor, 0), axes.at(tensor, 1)

    def compare(
        mask: Tensor | None, batch_first: tuple[Size | None, ...], tokens_first: tuple[Size | None, ...]
    ) -> None:
        shape = None if mask is None else tuple(axes.at(mask, dim) for dim in (0, 1))
        if shape is None or (mask is not None and mask.rank not in (None, 2)) or batch_first == tokens_first:
            return
        if shape == batch_first:
            found.append(True)
        elif shape == tokens_first:
            found.append(False)

    for index, name, rows, columns in _MASKS[kind]:
        (first, second), (other_first, other_second) = sizes(rows), sizes(columns)
        compare(_argument(call, index, name), (second, other_second), (first, other_first))
    for index, name, of in _PADDING[kind]:
        first, second = sizes(of)
        compare(_argument(call, index, name), (first, second), (second, first))
    return found


def _told_by_queries(call: Call, given: list[Tensor | None]) -> list[bool]:
    """The module has queries of its own, (n, c), for each entry of what they attend to: these share the batch alone.

    torch raises where the layer takes another dimension for the batch, unless there are n tokens by chance.
    """
    query, keys = given[0], given[1] if len(given) > 1 else None
    if query is None or keys is None:
        return []
    axes = call.interpreter.axes
    sizes = [axes.at(tensor, dim) for tensor in (query, keys) for dim in (0, 1)]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return []
    first, second, other_first, other_second = known
    if first == other_first != ONE and second != other_second and _is_fixed(call, second):
        return [True]
    if second == other_second != ONE and first != other_first and _is_fixed(call, first):
        return [False]
    return []


def _is_fixed(call: Call, size: Size) -> bool:
    """The constructor, or the code, sets a size: it is none of what the module is given."""
    return all(
        key.of_self or not (key.of_dimension or key.computed or key.left_over or call.interpreter.is_given(key))
        for key in size.symbols
    )


def _recurrent(layer: Layer, call: Call) -> Value:
    tensor = call.tensor(0, "input")
    flag = batch_first(layer)
    if tensor is None:
        return NOTHING
    width = call.fresh_size("width")
    tensor = call.interpreter.refine(call.state, tensor, 3)
    if flag is not None:
        call.interpreter.axes.tell_front(tensor, Source.RECURRENT, batch_first=flag)
    if tensor.shape is None or len(tensor.shape) != 3:
        return Sequence((Tensor(key=call.interpreter.key(call.node)), NOTHING))
    return Sequence((of_shape((*tensor.shape[:2], width)), NOTHING))


def _like(call: Call, tensor: Tensor) -> Tensor:
    """The result has the sizes of what was attended from."""
    if tensor.shape is not None:
        return of_shape(tensor.shape, roles=_ROLES, inputs=tensor.inputs)
    key = call.interpreter.key(call.node)
    call.interpreter.axes.alike_to(key, tensor)
    return Tensor(key=key, roles=_ROLES, inputs=tensor.inputs)
