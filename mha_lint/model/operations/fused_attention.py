"""Fused attention, which scales the scores itself."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model import layout
from mha_lint.model.factors import of_size
from mha_lint.model.layout import Refused
from mha_lint.model.operations import clashes
from mha_lint.model.operations.open import contracted
from mha_lint.model.operations.products import is_normed, kinds
from mha_lint.model.operations.telling import note_scored
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import of_scores
from mha_lint.model.sizes import product
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Tensor,
    Value,
    as_factor,
    of_shape,
)


def attention(call: Call) -> Value:
    """The result's strides depend on the backend that runs (math, flash, efficient, cuDNN): unknown."""
    query, key, value = call.tensor(0, "query"), call.tensor(1, "key"), call.tensor(2, "value")
    if query is None or key is None or value is None:
        return NOTHING
    call.interpreter.saw_heads(call, query, key, -3, fused=True)
    note_scored(call, query, key)
    call.interpreter.saw_product(query, key)
    call.interpreter.saw_product(query, value)
    for tensor, role in ((query, "query"), (key, "key"), (value, "value"), (call.tensor(3, "attn_mask"), "mask")):
        call.interpreter.saw_use(tensor, role)
    shared = call.keywords.get("enable_gqa", Const(False)) != Const(False) or "**" in call.keywords
    clashes.of_attention(call, query, key, value, call.tensor(3, "attn_mask"), grouped=shared)
    grouped = ["grouped-query"] if call.keywords.get("enable_gqa") == Const(True) else []
    call.interpreter.saw_attention(*kinds(query, key), *grouped)
    scaled_inside(call, query, key, call.keywords.get("scale", NONE))
    inputs = query.inputs | key.inputs | value.inputs
    known = query.shape or value.shape
    if known is None:
        suffix = () if value.last is None else (value.last,)
        made = contracted(call, query, value) or Tensor(suffix=suffix)
        made = replace(made, key=call.interpreter.key(call.node), roles=frozenset({"context"}), inputs=inputs)
        return replace(made, batch=product(made.suffix[:-2]), width=made.last) if _holds_heads(made, value) else made
    if any(tensor.shape is not None and len(tensor.shape) < 2 for tensor in (query, value)):
        raise Refused
    width = value.shape[-1] if value.shape is not None else known[-1]
    rows = query.shape[-2] if query.shape is not None else call.fresh_size("rows")
    shape = (*known[:-2], rows, width)
    swapped = call.interpreter.axes.heads_of(query) == -2
    roles = frozenset({"context", "swapped"} if swapped else {"context"})
    context = of_shape(shape, roles=roles, inputs=inputs, of_math=layout.contiguous_strides(shape))
    if "projection" not in value.roles:
        return context
    return replace(context, batch=product(shape[:-2]), width=width)


def _holds_heads(context: Tensor, value: Tensor) -> bool:
    return len(context.suffix) > 2 and "projection" in value.roles


_SCALES = ("softmax_scale", "sm_scale", "scaling", "scale")  # what fused attention calls the scale that it is given


def fused(call: Call) -> None:
    """Note the scale that is handed to attention of another package, beside queries and keys."""
    given = given_scale(call)
    tensors = [*call.args, *call.keywords.values()]
    scaled = [normal(each, call.state) for each in tensors if isinstance(each, Tensor) and each.scale is not None]
    if given is not None and len(scaled) > 1 and all(each.scale and each.scale.product is None for each in scaled):
        scaled_inside(call, scaled[0], scaled[1], given)


def given_scale(call: Call) -> Value | None:
    """The scale that fused attention is given; None where it is given none."""
    return next((call.keywords[name] for name in _SCALES if name in call.keywords), None)


def scaled_inside(call: Call, query: Tensor, key: Tensor, given: Value) -> None:
    """Attention scales the product of queries and keys itself: by what it is given, else by the root of their width."""
    if is_normed(call, query, key) or not (query.scale or key.scale) or "**" in call.keywords:
        return
    width = None if query.last is None else call.state.normal(query.last)
    factor = as_factor(given)
    if given == NONE:
        if width is None or not any(each.scale is not None and each.scale.parts for each in (query, key)):
            return
        factor = of_size(width).power(-0.5)
    if factor is None:
        return
    scale = of_scores(query.scale, key.scale, width, call.node)
    scaled = scale.by(factor.substitute(call.state.definitions), call.node)
    if scaled is not None:
        call.interpreter.saw_scale(call.node, scaled, call.state)
