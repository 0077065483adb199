"""Attention functions of other packages, and what they make of the shapes that they are given.

Most take (b, t, h, d), where PyTorch's own function takes (b, h, t, d). Read off the documentation of flash-attn
(``flash_attn_interface.py``), xFormers (``xformers.ops.fmha``), PyTorch (``torch.nn.attention.flex_attention``) and
diffusers (``models/attention_dispatch.py``).

The functions of transformers (``integrations/sdpa_attention.py`` and those beside it) take the module, then
(b, h, t, d), and give (b, t, h, d) together with the weights; most code looks them up in ``ALL_ATTENTION_FUNCTIONS``.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from mha_lint.model.keys import Key, part
from mha_lint.model.layout import Shape
from mha_lint.model.operations import fused_attention
from mha_lint.model.run import Call
from mha_lint.model.values import NONE, NOTHING, Qualified, Sequence, Tensor, Unknown, Value, of_shape

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
        "diffusers.models.attention_dispatch.dispatch_attention_fn",
    }
)  # of (b, t, h, d)
_LIKE_TORCH = frozenset({"diffusers.models.attention_dispatch.dispatch_attention_fn"})  # takes the same arguments
_PACKED = frozenset(
    {
        "flash_attn.flash_attn_qkvpacked_func",
        "flash_attn.flash_attn_interface.flash_attn_qkvpacked_func",
        "flash_attn_interface.flash_attn_qkvpacked_func",
    }
)  # of (b, t, 3, h, d)
_HEADS_FIRST = frozenset({"torch.nn.attention.flex_attention.flex_attention"})  # of (b, h, t, d)

_SCALE_AT = {"flash_attn_func": 4, "memory_efficient_attention": 5, "flex_attention": 5}  # among what is given by place
_INTERFACE = "transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS"
_ENTRY = f"{_INTERFACE}.*"  # whichever of its functions
_OF_A_MODULE = frozenset(
    {
        _ENTRY,
        "transformers.integrations.flash_attention.flash_attention_forward",
        "transformers.integrations.flex_attention.flex_attention_forward",
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
    }
)  # of a module and (b, h, t, d)
_KERNELS = _TOKENS_FIRST | _PACKED | _HEADS_FIRST | _OF_A_MODULE
_DEFINED_AS = {
    last: tuple(full for full in sorted(_KERNELS) if full.endswith(f".{last}"))
    for last in {full.rpartition(".")[2] for full in _KERNELS}
}  # function → its full names


def is_kernel(name: str) -> bool:
    """Tell whether a full name is that of an attention function which is known."""
    return name in _KERNELS or (name.startswith("transformers.models.") and name.endswith(".eager_attention_forward"))


def of_project(path: str, name: str) -> str | None:
    """The full name of a known attention function where a file of the project, such as diffusers itself, defines it."""
    for full in _DEFINED_AS.get(name, ()):
        module = full.rpartition(".")[0].replace(".", "/")
        if Path(path).as_posix().endswith(f"/{module}.py"):
            return full
    return None


def full_name(name: str) -> str:
    """The name of a known attention function in full where it is a relative one, as within diffusers; else as it is."""
    stem = name.lstrip(".")
    if stem == name or "." not in stem:
        return name
    known = _DEFINED_AS.get(stem.rpartition(".")[2], ())
    return next((full for full in known if full.endswith(f".{stem}")), name)


def entry(name: str) -> Qualified | None:
    """Return what a table of attention functions has under any key; None where the name is of no such table.

    Within transformers, and in what is copied from it, the name is a relative one.
    """
    if name.startswith("."):
        name = f"transformers.{name.lstrip('.')}"
    return Qualified(_ENTRY) if name in (_INTERFACE, f"{_INTERFACE}.get_interface", f"{_INTERFACE}.get") else None


def scale_name(name: str) -> str | None:
    """The name of the parameter by which fused attention is given its scale; None for a function that is not known."""
    if name.rpartition(".")[2] == "scaled_dot_product_attention":
        return "scale"
    if name not in _KERNELS or name in _OF_A_MODULE:
        return None
    return "softmax_scale" if "flash_attn" in name else "scale"


def _scale(name: str, call: Call) -> Value:
    """The scale that a kernel is given, by its name or by its place; None where it chooses one itself."""
    at = _SCALE_AT.get(name.rpartition(".")[2])
    if at is not None and len(call.args) > at:
        return call.args[at]
    return fused_attention.given_scale(call) or NONE


def attend(name: str, call: Call) -> Value:
    """The context that a kernel gives, laid out as its queries are."""
    if name in _HEADS_FIRST:
        made = fused_attention.attention(replace(call, keywords={**call.keywords, "scale": _scale(name, call)}))
        return replace(made, of_math=None) if isinstance(made, Tensor) else made
    if name in _PACKED:
        return _of_packed(call)
    if name not in _TOKENS_FIRST:
        return _of_a_module(call)
    context = _of_tokens(name, call)
    if name in _LIKE_TORCH:
        call.interpreter.saw_operation("scaled_dot_product_attention", call, context)
    return context


def _of_tokens(name: str, call: Call) -> Value:
    query, key, value = call.tensor(0, *_QUERIES), call.tensor(1, *_KEYS), call.tensor(2, *_VALUES)
    if query is None or key is None or value is None:
        return NOTHING
    for tensor, role in ((query, "query"), (key, "key"), (value, "value")):
        call.interpreter.saw_use(tensor, role)
    call.interpreter.saw_attention()
    call.interpreter.saw_heads(call, query, key, -2, fused=True)
    fused_attention.scaled_inside(call, query, key, _scale(name, call))
    inputs = query.inputs | key.inputs | value.inputs
    if query.shape is None:
        suffix = () if value.last is None else (value.last,)
        return Tensor(key=call.interpreter.key(call.node), suffix=suffix, roles=frozenset({"context"}), inputs=inputs)
    shape = (*query.shape[:-1], value.last or query.shape[-1])
    context = _context(shape, inputs, projected="projection" in value.roles)
    return context.having("swapped") if call.interpreter.axes.heads_of(query) == -3 else context


def _of_a_module(call: Call) -> Value:
    """The context, whose heads lie side by side, and the weights, which most functions do not give."""
    query, key, value = call.tensor(1, *_QUERIES), call.tensor(2, *_KEYS), call.tensor(3, *_VALUES)
    if query is None or key is None or value is None:
        return NOTHING
    for tensor, role in ((query, "query"), (key, "key"), (value, "value")):
        call.interpreter.saw_use(tensor, role)
    call.interpreter.saw_attention()
    call.interpreter.saw_heads(call, query, key, -3, fused=True, at=1)
    scaling = call.keywords.get("scaling")
    if scaling is not None:
        fused_attention.scaled_inside(call, query, key, scaling)
    inputs, node = query.inputs | key.inputs | value.inputs, call.interpreter.key(call.node)
    context = Tensor(key=part(node, 0), roles=frozenset({"context"}), inputs=inputs)
    if query.shape is not None and len(query.shape) == 4:
        b, h, t, d = query.shape
        context = _context((b, t, h, value.last or d), inputs, projected="projection" in value.roles)
    return Sequence((context, Unknown(part(node, 1))))


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
