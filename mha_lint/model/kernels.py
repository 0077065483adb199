"""Attention functions of other packages, and what they make of the shapes that they are given.

Most take (b, t, h, d), where PyTorch's own function takes (b, h, t, d). Read off the documentation of flash-attn
(``flash_attn_interface.py``), xFormers (``xformers.ops.fmha``) and PyTorch (``torch.nn.attention.flex_attention``).
"""

from __future__ import annotations

from mha_lint.model.keys import Key
from mha_lint.model.layout import Shape
from mha_lint.model.operations import products
from mha_lint.model.records import replace
from mha_lint.model.run import Call
from mha_lint.model.values import NONE, NOTHING, Tensor, Value, of_shape

_QUERIES = ("q", "query")
_KEYS = ("k", "key")
_VALUES = ("v", "value")

_TOKENS_FIRST = frozenset(
    {
        "flash_attn.flash_attn_func",
        "flash_attn.flash_attn_interface.flash_attn_func",
        "flash_attn_interface.flash_attn_func",
        "xformers.ops.memory_efficient_attention",
        "xformers.ops.fmha.memory_efficient_attention",
    }
)  # of (b, t, h, d)
_PACKED = frozenset(
    {
        "flash_attn.flash_attn_qkvpacked_func",
        "flash_attn.flash_attn_interface.flash_attn_qkvpacked_func",
        "flash_attn_interface.flash_attn_qkvpacked_func",
    }
)  # of (b, t, 3, h, d)
_HEADS_FIRST = frozenset({"torch.nn.attention.flex_attention.flex_attention"})  # of (b, h, t, d)

KERNELS = _TOKENS_FIRST | _PACKED | _HEADS_FIRST


def attend(name: str, call: Call) -> Value:
    """The context that a kernel gives, laid out as its queries are."""
    if name in _HEADS_FIRST:
        made = products.attention(call)
        return replace(made, of_math=None) if isinstance(made, Tensor) else made
    if name in _PACKED:
        return _of_packed(call)
    query, key, value = call.tensor(0, *_QUERIES), call.tensor(1, *_KEYS), call.tensor(2, *_VALUES)
    if query is None or key is None or value is None:
        return NOTHING
    for tensor, role in ((query, "query"), (key, "key"), (value, "value")):
        call.interpreter.saw_use(tensor, role)
    call.interpreter.saw_attention()
    products.scaled_inside(call, query, key, products.given_scale(call) or NONE)
    inputs = query.inputs | key.inputs | value.inputs
    if query.shape is None:
        suffix = () if value.last is None else (value.last,)
        return Tensor(key=call.interpreter.key(call.node), suffix=suffix, roles=frozenset({"context"}), inputs=inputs)
    shape = (*query.shape[:-1], value.last or query.shape[-1])
    return _context(shape, inputs, projected="projection" in value.roles)


def _of_packed(call: Call) -> Value:
    packed = call.tensor(0, "qkv")
    if packed is None:
        return NOTHING
    call.interpreter.saw_attention("self-attention")
    roles, inputs = frozenset({"context"}), packed.inputs
    if packed.shape is None or len(packed.shape) != 5:
        return Tensor(key=call.interpreter.key(call.node), suffix=packed.suffix[-2:], roles=roles, inputs=inputs)
    shape = (*packed.shape[:2], *packed.shape[3:])
    return _context(shape, inputs, projected="projection" in packed.roles)


def _context(shape: Shape, inputs: frozenset[Key], *, projected: bool) -> Tensor:
    """The context (b, t, h, d), of whose heads it is known that they can be merged where it has some."""
    context = of_shape(shape, roles=frozenset({"context"}), inputs=inputs)
    if not projected or len(shape) != 4:
        return context
    batch, _, heads, width = shape
    return replace(context, batch=batch * heads, width=width)
