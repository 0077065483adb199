"""``torch.nn`` modules: what ``nn.Linear(...)`` builds and what calling it does to a tensor."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from msgspec.structs import replace

from mha_lint.model import einops_api, folds, masking, operations, sequences
from mha_lint.model.axes import Role, Source
from mha_lint.model.cached import Rotated
from mha_lint.model.folded import Fold, Part
from mha_lint.model.keys import dimension
from mha_lint.model.operations import clashes
from mha_lint.model.operations.devices import met
from mha_lint.model.rotary import RotaryTable, as_buffer
from mha_lint.model.run import Call, Run
from mha_lint.model.scale import Scale
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import (
    NOTHING,
    Const,
    Int,
    Layer,
    Number,
    Repeated,
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
    integer,
    of_shape,
)
from mha_lint.syntax.nodes import argument, last_name
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import KEEPS_MEANING, KEYS, MAPS, PROJECTS, ROTATES, SETS_UP, WRAPS, is_said

_DROPOUTS = frozenset("Dropout Dropout1d Dropout2d Dropout3d AlphaDropout".split())
_ELEMENTWISE = _DROPOUTS | frozenset(
    "ReLU GELU SiLU Sigmoid Tanh ReLU6 LeakyReLU ELU Mish Hardswish Softplus QuickGELU".split()
)
_NORMS = frozenset(
    "LayerNorm RMSNorm GroupNorm BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d".split()
)
_CONVOLUTIONS = {"Conv1d": 3, "Conv2d": 4, "Conv3d": 5}  # and the dims of what they take
_LINEAR = frozenset("Linear LazyLinear NonDynamicallyQuantizableLinear".split())
_KNOWN = _ELEMENTWISE | _NORMS | _CONVOLUTIONS.keys() | _LINEAR | {"Identity", "Softmax", "Embedding"}


def build(name: str, node: ast.Call, args: tuple[Value, ...], keywords: Mapping[str, Value], state: State) -> Value:
    """The layer that ``name(*args, **keywords)`` builds, ``name`` being below ``torch.nn``."""
    if name in ("ModuleList", "ParameterList"):
        return args[0] if args and isinstance(args[0], (Sequence, Repeated)) else Sequence(()) if not args else NOTHING
    if name == "Sequential":
        return Layer(name, items=args, node=node) if args else NOTHING  # an empty one is filled later
    if name in ("Parameter", "Buffer"):
        tensor = as_tensor(args[0]) if args else None
        if tensor is not None and keywords.get("requires_grad") != Const(False):
            tensor = replace(tensor, mask=None)  # its numbers are learnt
        if tensor is not None and isinstance(tensor.rotary, RotaryTable):
            tensor = replace(tensor, rotary=as_buffer(tensor.rotary))
        if tensor is not None:
            tensor = replace(tensor, single=False)  # ``module.half()`` casts it
        return (
            Tensor(roles=frozenset({"parameter"})) if tensor is None else replace(tensor.having("parameter"), homes=())
        )
    if name in _LINEAR or name in _CONVOLUTIONS:
        names = ("in_features", "out_features") if name in _LINEAR else ("in_channels", "out_channels")
        sizes = [as_size(value) for value in arguments(args, keywords, *names)]
        width_in, width_out = (state.normal(size) if size is not None else None for size in sizes)
        keeps = name in _CONVOLUTIONS and _keeps_sizes(args, keywords)
        pointwise = keeps and arguments(args[2:], keywords, "kernel_size") == (integer(1),)
        return Layer(name, width_in, width_out, (Const(keeps), Const(pointwise)), node)
    if name == "Embedding":
        (width_size,) = arguments(args[1:], keywords, "embedding_dim")
        width_out = as_size(width_size)
        return Layer(name, width_out=None if width_out is None else state.normal(width_out), node=node)
    if name == "Softmax":
        (dim,) = arguments(args, keywords, "dim")
        return Layer(name, items=() if dim is None else (dim,), node=node)
    if name in sequences.KINDS:
        return sequences.build(name, node, args, keywords)
    return Layer(name, node=node) if name in _KNOWN else NOTHING


def maps_each(layer: Layer) -> bool:
    """Tell whether a layer maps each token, or each pixel, by itself."""
    return layer.kind == "Linear" or (layer.kind in _CONVOLUTIONS and layer.items[1] == Const(True))


def _keeps_sizes(args: tuple[Value, ...], keywords: Mapping[str, Value]) -> bool:
    """Tell whether a convolution gives an image, or a sequence, as large as it was given."""
    names = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = arguments(args[2:], keywords, *names)
    if any(each not in (None, integer(1)) for each in (stride, dilation)):
        return False
    size = as_int(kernel)
    if size == 1:
        return padding in (None, integer(0), Const("same"))
    if size is None or "**" in keywords:
        return False
    return padding == Const("same") or (size % 2 == 1 and padding == integer(size // 2))


def apply(interpreter: Run, layer: Layer, call: Call) -> Value:
    """The result of calling the layer on ``call.args``."""
    tensor = call.tensor(0, "input", "x") or _computed(call)
    if layer.kind == "Sequential":
        value: Value = call.args[0] if call.args else NOTHING
        for item in layer.items:
            value = interpreter.apply(item, replace(call, args=(value,), keywords={}))
        return value
    if layer.kind == "MultiheadAttention":
        masks = [value for value in (*call.args[3:], *call.keywords.values()) if isinstance(value, Tensor)]
        if tensor is None or not tensor.homes:  # else all of it, the layer too, is on the default device
            met(call, [Tensor(roles=frozenset({"parameter"})), *masks])
        clashes.of_layer(call, tensor, call.tensor(5, "attn_mask"))
        _note_mask_of_heads(call, layer)
        result = sequences.apply(layer, call)
        interpreter.saw_operation("multi_head_attention", call, result)
        return result
    if layer.kind in sequences.KINDS:
        result = sequences.apply(layer, call)
        if layer.kind not in sequences.RECURRENT:
            interpreter.saw_operation(layer.kind, call, result)
        return result
    if tensor is None:
        return NOTHING
    if layer.kind == "Embedding":
        met(call, [Tensor(roles=frozenset({"parameter"})), tensor])
        return _embedded(call, tensor, layer)
    if layer.kind in _LINEAR:
        mapped = operations.linear(call, tensor, layer.width_in, layer.width_out)
        scale = mapped.scale.unsure if layer.wrapped and mapped.scale is not None else mapped.scale
        return replace(mapped, homes=tensor.homes, scale=scale)
    if layer.kind in _CONVOLUTIONS:
        return replace(_convolution(call, tensor, layer), homes=tensor.homes)
    if layer.kind in _ELEMENTWISE:
        same = operations.elementwise(call, tensor)
        function = call.node.func if isinstance(call.node, ast.Call) else None
        if layer.kind not in _DROPOUTS and isinstance(same, Tensor):
            return replace(same, masked=masking.other_numbers(same.masked))
        if layer.kind in _DROPOUTS and isinstance(function, ast.Call) and function is layer.node:
            _saw_made_anew(interpreter, function, replace(call, args=(tensor,), keywords={}), same)
        return same
    if layer.kind == "LayerNorm":
        return operations.OPERATIONS["layer_norm"](replace(call, args=(tensor,)))
    if layer.kind in _NORMS:
        return replace(tensor, strides=None, contiguous=False, roles=tensor.roles | {"normed"}, scale=None)
    match layer.kind:
        case "Identity":
            return tensor
        case "Softmax":
            made = operations.OPERATIONS["softmax"](replace(call, args=(tensor, *layer.items), keywords={}))
            if isinstance(made, Tensor) and made.normalised is not None and layer.node is not None:
                return replace(made, normalised=replace(made.normalised, node=layer.node))
            return made
        case "Rearrange":
            pattern, *sizes = layer.items
            keywords = {
                str(name.value): size
                for item in sizes
                if isinstance(item, Sequence)
                for name, size in [item.items]
                if isinstance(name, Const)
            }
            return einops_api.rearrange(replace(call, args=(tensor, pattern), keywords=keywords))
        case _:
            return NOTHING


def _note_mask_of_heads(call: Call, layer: Layer) -> None:
    """``nn.MultiheadAttention`` takes a mask (b*h, t, s), the heads of the first entry first."""
    mask = arguments(
        call.args, call.keywords, "query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"
    )[5]
    heads = sequences.heads(layer)
    if not isinstance(mask, Tensor) or heads is None:
        return
    given = [fold for fold in call.interpreter.axes.folds_of(mask, 3) if fold.dim == -3]
    known = [Fold(-3, tuple(_named(part, call) for part in fold.parts), fold.repeated) for fold in given]
    entries = [(part.size, fold) for fold in known for part in fold.parts if not part.alike]
    for size, fold in entries:
        wanted = Fold(-3, (Part(size), Part(call.state.normal(heads))))
        if folds.crosses(fold, wanted, call.state) is not None:
            call.interpreter.saw_orders(fold, wanted)


def _named(part: Part, call: Call) -> Part:
    """The part with a name for its size: whatever that is, it is the number of entries."""
    return Part(call.fresh_size("entries"), part.alike) if part.size is None else part


def _saw_made_anew(run: Run, made: ast.Call, call: Call, result: Value) -> None:
    """``nn.Dropout(p)(weights)``: a layer that is made in each call is always in train mode."""
    rate = argument(made, 0, "p")
    args = call.args if rate is None else (*call.args, run.evaluate(rate, call.state))
    run.saw_operation("dropout", replace(call, args=args), result)


def _computed(call: Call) -> Tensor | None:
    """Return a tensor for a layer's input that was taken for a number so far, as in ``x = x + 1``; None otherwise."""
    given = argument(call.node, 0) if isinstance(call.node, ast.Call) else None
    if given is None or not call.args or not isinstance(call.args[0], (Int, Number)):
        return None
    return Tensor(key=call.interpreter.key(given))


def wrapped(call: Call, blank: Value) -> Value:
    """The layer that something is put around, such as ``weight_norm(nn.Linear(c, c))``, takes and gives what it did.

    What is given a number besides, as ``clones(layer, 4)`` is, may make several of it.
    """
    function = call.node.func if isinstance(call.node, ast.Call) else None
    given = [*call.args, *call.keywords.values()]
    layer = given[0] if given else None
    if not isinstance(layer, Layer) or not is_said(WRAPS, last_name(function)):
        return blank
    if any(map(_counts, call.args[1:])) and not is_said(SETS_UP, last_name(function)):
        return blank
    return replace(layer, wrapped=True)


def _counts(value: Value) -> bool:
    return isinstance(value, Int) or (isinstance(value, Unknown) and value.key is not None and not value.key.of_result)


def told_by_name(call: Call, blank: Value) -> Value:
    """Return the value that the name of the function applied to a tensor implies; ``blank`` where it implies none.

    A norm, a dropout or a layer scale keeps the shape, and what the tensor is to attention, and so does a rotation of
    queries, or of queries and keys; something that scores or weights are handed to gives masked, biased or dropped
    ones.
    """
    function = call.node.func if isinstance(call.node, ast.Call) else None
    name = last_name(function)
    unknown, single = isinstance(blank, Unknown), len(call.args) == 1
    if unknown and single and isinstance(function, ast.Attribute) and is_said(PROJECTS, name):
        given = as_tensor(operations.expanded(call.args[0], call.state))
        if given is not None:
            made = operations.linear(call, given, None, None)
            return replace(made, scale=made.scale.unsure if made.scale else None)
    tensor = operations.expanded(call.args[0], call.state) if call.args else None
    keeps = single and is_said(KEEPS_MEANING, name) and not is_said(MAPS, name)
    if unknown and keeps:
        call.interpreter.axes.alike_to(call.interpreter.key(call.node), tensor)
    if not isinstance(tensor, Tensor):
        return blank
    if "projection" in tensor.roles and is_said(ROTATES, name) and (tensor.rank or 0) > 3:
        return _turned(call, tensor)
    if not unknown:
        return blank
    key = call.interpreter.key(call.node)
    if keeps:
        same = operations.elementwise(call, tensor)
        if isinstance(same, Tensor):
            roles, scale = (same.roles, same.scale) if "drop" in name.lower() else (same.roles | {"normed"}, None)
            return replace(same, strides=None, contiguous=False, assumed=False, key=key, roles=roles, scale=scale)
    if name in operations.TABLE and call.interpreter.is_method(call.node):
        return blank  # mask.expand_as(scores) is still a mask
    about = tensor.roles & {"scores", "weights"}
    masked = masking.through_unknown(tensor, call.node)
    return Tensor(key=key, roles=about, masked=masked, inputs=tensor.inputs) if about else blank


def _turned(call: Call, tensor: Tensor) -> Value:
    """Return the rotated queries, or the pair of rotated queries and keys where the call is given keys too."""
    assert isinstance(call.node, ast.Call)
    named = {name: value for name, value in call.keywords.items() if is_said(KEYS, name)}
    keys = call.args[1] if len(call.args) > 1 else next(iter(named.values()), None)
    second = argument(call.node, 1)
    turned = bool(named) or (second is not None and names_said(KEYS, second))
    if isinstance(keys, Tensor) and "projection" in keys.roles:
        return Sequence((_rotated(call, tensor), _rotated(call, keys)))
    return Sequence((_rotated(call, tensor), NOTHING)) if turned else _rotated(call, tensor)


def _rotated(call: Call, tensor: Tensor) -> Value:
    """Queries or keys that were rotated by code that is not known: laid out anew, as long as before if nothing else."""
    if (tensor.rank or 0) < 4:
        return NOTHING  # heads may be split off there
    same = operations.elementwise(call, tensor)
    if not isinstance(same, Tensor):
        return same
    scale = same.scale.unsure if same.scale else None
    mark = Rotated(False, call.node, call.interpreter.calls)
    return replace(same, strides=None, contiguous=False, assumed=False, scale=scale, rotary=mark)


def _embedded(call: Call, tensor: Tensor, layer: Layer) -> Value:
    """(b, t) -> (b, t, c); of indices of unknown rank, it is known what comes first."""
    width = layer.width_out if layer.width_out is not None else call.fresh_size("width")
    if tensor.shape is not None:
        return of_shape((*tensor.shape, width))
    key = call.interpreter.key(call.node)
    call.interpreter.axes.alike_to(key, tensor)
    return Tensor(key=key, inputs=tensor.inputs)


def _convolution(call: Call, tensor: Tensor, layer: Layer) -> Tensor:
    """(b, c, ...) -> (b, e, ...); the memory format follows the input's."""
    roles = operations.mapped_roles(tensor.roles)
    width: Size = layer.width_out if layer.width_out is not None else call.fresh_size("channels")
    scale = Scale(whole=False, maps=frozenset({width}))  # attention over images may do without, or by another width
    tensor = call.interpreter.refine(call.state, tensor, _CONVOLUTIONS[layer.kind])
    if tensor.shape is None or len(tensor.shape) < 3:
        known = tensor.contiguous or tensor.given
        return Tensor(key=call.interpreter.key(call.node), contiguous=known, assumed=known, roles=roles, scale=scale)
    axes = call.interpreter.axes
    axes.tell(tensor.shape[0], Role.BATCH, Source.CONVOLUTION)
    for size in tensor.shape[2:]:
        axes.tell(size, Role.TOKENS, Source.CONVOLUTION)
    keeps, pointwise = (item == Const(True) for item in layer.items)
    made = call.interpreter.key(call.node)
    sizes = [size if keeps else symbol(dimension(made, dim)) for dim, size in enumerate(tensor.shape[2:], start=2)]
    shape = (tensor.shape[0], call.state.normal(width), *sizes)
    for size in sizes:
        axes.tell(size, Role.TOKENS, Source.CONVOLUTION)
    # Weights in channels-last format would make the result channels-last.
    new = fresh if tensor.contiguous or tensor.given else of_shape
    result = new(shape, roles=roles, assumed=True, scale=scale)
    return operations.mixed(tensor, result) if pointwise and layer.width_in == width else result


def rearrange_layer(node: ast.Call, args: tuple[Value, ...], keywords: Mapping[str, Value]) -> Value:
    """``einops.layers.torch.Rearrange(pattern, **sizes)``."""
    if not args:
        return NOTHING
    sizes = tuple(
        Sequence((Const(name), value)) for name, value in keywords.items() if isinstance(value, Int) or as_size(value)
    )
    return Layer("Rearrange", items=(args[0], *sizes), node=node)
