"""What an operation on tensors makes of facets: ``x.op(y)`` and ``torch.op(x, y)``, the layers of ``torch.nn``."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from mha_lint.screen import facets as fc
from mha_lint.screen import fills, flags
from mha_lint.screen.facets import (
    CONTEXT,
    CONTIGUOUS,
    DISORDERED,
    GIVEN,
    INTEGER,
    KNOWN,
    LITERAL,
    ONE,
    ROLES,
    SCORES,
    SIZES,
    UNMOVED,
    WEIGHTS,
    Facets,
    Value,
    joined,
)

if TYPE_CHECKING:
    from mha_lint.screen.look import Look


@dataclass(frozen=True, slots=True)
class Call:
    """An operation being applied; ``node.args`` lack the tensor where it is written before the dot."""

    look: Look
    name: str
    args: Sequence[Value]
    keywords: dict[str, Value]
    node: ast.Call

    @property
    def tensor(self) -> Facets:
        return tensor(self.args)

    @property
    def is_method(self) -> bool:
        """Whether it is written ``x.op()``, not ``torch.op(x)``."""
        return len(self.args) > len(self.node.args)

    @property
    def sizes(self) -> Facets:
        """Sizes among the arguments."""
        found = 0
        for value in (*self.args[1:], *self.keywords.values()):
            found |= fc.all_facets(value)
        return found & SIZES


def tensor(args: Sequence[Value]) -> Facets:
    return fc.facets(args[0]) if args else 0


def _view(call: Call) -> Value:
    tensor = call.tensor
    if tensor & DISORDERED:
        call.look.suspect("view" if call.name == "view" else "reshape")
    if tensor & UNMOVED:
        if tensor & CONTEXT:
            call.look.suspect("merge")
        if call.name in ("view", "reshape") and _across(call):
            call.look.suspect("split")
    if call.name in ("view", "reshape"):
        tensor &= ~ONE  # the new sizes are all written, or what is left over
    return fc.reshaped(tensor, call.sizes, copies=call.name != "view")


def _contiguous(call: Call) -> Value:
    tensor = call.tensor
    if call.keywords:
        return tensor & (SIZES | ROLES) | KNOWN
    needless = tensor & CONTIGUOUS or (call.look.compares and tensor & DISORDERED)
    if needless and not call.node.args and len(call.look.running) == 1:
        call.look.suspect("contiguous")  # of what another function hands over, nothing is said
    return fc.allocated(tensor)


def _unbind(call: Call) -> Value:
    written = call.node.args if call.is_method else call.node.args[1:]
    dims = [*written, *(keyword.value for keyword in call.node.keywords if keyword.arg == "dim")]
    if not _is_other_dim(dims[:1]):
        call.look.suspect("unbind")
    return fc.many(fc.cut(call.tensor))


def _part(call: Call) -> Value:
    at = 0 if call.name in ("select", "narrow") else 1
    written = call.node.args if call.is_method else call.node.args[1:]
    dims = [*written[at : at + 1], *(keyword.value for keyword in call.node.keywords if keyword.arg == "dim")]
    cuts = call.name in ("chunk", "tensor_split", "select") or (call.name == "split" and _is_number(written[:1]))
    inner = cuts and not call.tensor & ONE and _is_other_dim(dims[:1])
    return fc.cut(call.tensor, inner=inner) | LITERAL | call.sizes


def _parts_of(call: Call) -> Value:
    return fc.many(_part(call))


def _across(call: Call) -> bool:
    """Whether the sizes of a view may be those of (b, h, t, d)."""
    written = call.node.args if call.is_method else call.node.args[1:]
    given = [*call.args[1:], *call.keywords.values()]
    return heads_before(written) or any(fc.facets(value) & fc.ACROSS for value in given)


def heads_before(written: Sequence[ast.expr]) -> bool:
    """Whether sizes may be (b, h, t, d) or (b*h, t, d), told by what the last but one is called."""
    if len(written) < 3 or isinstance(written[-3], ast.Starred):
        return False
    tokens = written[-2]
    name = tokens.id if isinstance(tokens, ast.Name) else tokens.attr if isinstance(tokens, ast.Attribute) else ""
    return "head" not in name.lower() and (len(written) > 3 or not isinstance(written[0], (ast.Name, ast.Attribute)))


def _transpose(call: Call) -> Value:
    written = call.node.args if call.is_method else call.node.args[1:]
    dims = [ast.unparse(arg) for arg in written]
    last = {*dims} in ({"-1", "-2"}, {"2", "3"}) or dims[:2] == ["0", "1"]
    return fc.transposed(call.tensor) | (call.tensor & UNMOVED if last else 0)


def _rearrange(call: Call) -> Value:
    tensor = call.tensor | LITERAL
    moved = fc.transposed(tensor) | tensor
    return moved | fc.reshaped(moved, SIZES, copies=True)


def _expand(call: Call) -> Value:
    tensor = fc.expanded(call.tensor)
    if call.name != "expand_as" and all(isinstance(arg, (ast.Name, ast.Attribute)) for arg in call.node.args):
        tensor &= ~ONE
    return tensor | call.sizes


def _unsqueeze(call: Call) -> Value:
    return call.tensor | SIZES


def _squeeze(call: Call) -> Value:
    return call.tensor | KNOWN


def _same(call: Call) -> Value:
    tensor = call.tensor if not flags.moves(call.name, call.node) else call.tensor & ~fc.HOME
    if "memory_format" in call.keywords:
        return fc.allocated(tensor)
    boolean = call.name == "bool" or any(_last(value) == "bool" for value in _types(call.node))
    return fc.elementwise(tensor) | (fc.MARKED if boolean else 0)


def _types(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "dtype")]


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _elementwise(call: Call) -> Value:
    operands = [*map(fc.facets, call.args), *map(fc.facets, call.keywords.values())]
    result = fc.elementwise(*operands)
    if call.name == "add" and result & CONTEXT:
        call.look.adds = True
    if call.name in ("mul", "multiply") and len(call.args) > 1:
        fills.product(call.look, *call.args[:2])
    if call.name in ("add", "sub", "subtract") and len(call.args) > 1:
        fills.total(call.look, *call.args[:2])
    if call.name in ("eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and", "logical_or"):
        result = result & ~fc.NUMBERS | fc.MARKED
        result |= fc.TRIANGULAR if all(part & fc.POSITIONS for part in operands) else 0
    result |= _numbers(call)
    return result & ~fc.UNSCALED if call.name in ("mul", "multiply", "div", "divide", "true_divide") else result


def _dropout(call: Call) -> Value:
    if not call.is_method and flags.is_told_nothing(call.node):
        call.look.suspect("dropout")
    return _elementwise(call)


def _masked(call: Call) -> Value:
    """``masked_fill(mask, value)`` and ``where``, as methods or functions."""
    if call.name == "where":
        every = [*call.args, *call.keywords.values()]
        fills.fill(call.look, fc.either(every), fc.either(every), every)
        return _elementwise(call)
    tensor, mask, value = (
        call.args[index] if index < len(call.args) else call.keywords.get(name, 0)
        for index, name in enumerate(("input", "mask", "value"))
    )
    fills.fill(call.look, tensor, mask, [value], raises=True)
    return _allocated(call)


def _triangle(call: Call) -> Value:
    return KNOWN | fc.MARKED | fc.TRIANGULAR | call.tensor & fc.HOME


def _range(call: Call) -> Value:
    return KNOWN | fc.POSITIONS


def _array(call: Call) -> Value:
    return call.tensor & (ROLES | fc.NUMBERS)


def _allocated(call: Call) -> Value:
    return _numbers(call) | fc.allocated(*map(fc.all_facets, call.args), *map(fc.all_facets, call.keywords.values()))


def _numbers(call: Call) -> Facets:
    """The number that a new tensor is filled with."""
    if "zeros" in call.name:
        return fc.NOUGHT
    given = fc.either((*call.args, *call.keywords.values())) if "full" in call.name else 0
    return fc.facets(given) & fc.NUMBERS


def _filled(call: Call) -> Value:
    return joined(_allocated(call), 0 if call.is_method or "device" in call.keywords else fc.HOME)


def _stack(call: Call) -> Value:
    return joined(_allocated(call), SIZES)  # as many as are written


def _matmul(call: Call) -> Value:
    operands = [*map(fc.facets, call.args), *map(fc.facets, call.keywords.values())]
    if len(operands) > 1:
        weigh(call.look, operands[-2], operands[-1])
    return reduce(fc.multiplied, operands) if operands else 0


def _einsum(call: Call) -> Value:
    listed = [other.values for arg in call.args[1:2] for other in fc.others(arg) if isinstance(other, fc.Items)]
    last = not listed and len(call.node.args) > 2 and isinstance(call.node.args[-1], ast.Constant)  # as einops has it
    written = call.args[:-1] if last else call.args[1:]
    operands = [fc.all_facets(arg) for arg in (listed[0] if listed else written)] or [0]
    result = reduce(fc.multiplied, operands[1:] or operands, operands[0]) | fc.TRANSPOSED
    if result & CONTEXT:
        call.look.suspect("softmax")
    return result


def _linear(call: Call) -> Value:
    kept = fc.allocated(*map(fc.facets, call.args), keeps=SIZES | fc.HOME)
    return kept | UNMOVED | fc.UNSCALED | fc.OWN


def _softmax(call: Call) -> Value:
    written = call.node.args if call.is_method else call.node.args[1:]
    dims = [*written, *(keyword.value for keyword in call.node.keywords if keyword.arg in ("dim", "axis"))]
    if call.tensor & SCORES:
        if call.tensor & fc.UNSCALED or call.look.doubtful:
            call.look.suspect("scale")
        if not is_last_dim(dims):
            call.look.suspect("softmax")
    return fc.allocated(call.tensor, keeps=SIZES | fc.HOME) | WEIGHTS


def is_last_dim(written: Sequence[ast.expr]) -> bool:
    """Whether a dimension is written, and is the last."""
    return bool(written) and isinstance(written[0], ast.UnaryOp) and ast.unparse(written[0]) == "-1"


def weigh(look: Look, left: Facets, right: Facets) -> None:
    """Weights are normalised over their last dimension and stand to the left, or something is moved."""
    if right & WEIGHTS or (left & WEIGHTS and left & (fc.TRANSPOSED | fc.GIVEN_TRANSPOSED)):
        look.suspect("softmax")


def _attention(call: Call) -> Value:
    if "scale" in call.keywords and call.look.doubtful:
        call.look.suspect("scale")
    if any(fc.all_facets(value) & fc.HOME for value in (*call.args, *call.keywords.values())):
        call.look.suspect("device")
    if flags.may_drop_in_eval(call.node, is_method=call.is_method):
        call.look.suspect("dropout")
    if flags.may_be_causal(call.node, is_method=call.is_method):
        call.look.suspect("causal flag")
        if flags.has_mask(call.node):
            call.look.suspect("mask and flag")
    fills.attention(call.look, *call.args[3:4], call.keywords.get("attn_mask", 0))
    return KNOWN | CONTEXT | UNMOVED | call.tensor & SIZES | call.sizes


def _padded(call: Call) -> Value:
    return GIVEN | KNOWN | call.tensor & (SIZES | fc.HOME) | call.sizes


def _asked(call: Call) -> Value:
    sizes = call.tensor & SIZES | INTEGER
    return joined(sizes, fc.many(sizes))


def _something(call: Call) -> Value:
    return KNOWN | call.tensor & fc.HOME


def _is_number(written: Sequence[ast.expr]) -> bool:
    return bool(written) and isinstance(written[0], ast.Constant)


def _is_other_dim(written: Sequence[ast.expr]) -> bool:
    """Whether a dimension is written, and is certainly not 0."""
    if not written:
        return False
    node = written[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value != 0


_KEEPS = ("norm", "drop", "layerscale", "layer_scale", "ls")


PROJECTS = re.compile(
    r"^(?:add_)?(?:(?:to|w|proj|fc)_?)?(?:q|k|v|qkv|kv|qk|query|key|value|queries|keys|values)(?:_?(?:proj|lin|linear))?$"
)  # names of the linear layers of an attention that is handed over: ``attn.to_q(x)``
ROTATES = re.compile(  # queries, or queries and keys
    r"(?<![a-z])apply_(?:\w*_)?(?:rope|rotary|rot_emb(?:ed)?)(?![a-z])(?!\w*inplace)", re.IGNORECASE
)


def told_by_name(name: str, args: Sequence[Value]) -> Value:
    """What something unknown may give: scores or weights of such, what a norm or a dropout keeps, projections."""
    first = tensor(args)
    if len(args) == 1 and PROJECTS.search(name):
        return fc.allocated(first, keeps=SIZES | fc.HOME) | KNOWN | UNMOVED | fc.UNSCALED | fc.OWN
    if ROTATES.search(name):
        kept = first & (SIZES | ROLES) | KNOWN | fc.UNSCALED
        return joined(kept, fc.many(kept))
    about = first & (SCORES | WEIGHTS)
    low = name.lower()
    if len(args) == 1 and any(word in low for word in _KEEPS):
        return first & (SIZES | ROLES) | KNOWN
    return about | KNOWN if about else 0


Operation = Callable[[Call], Value]
OPERATIONS: dict[str, Operation] = {}
for _names, _operation in {
    "view reshape flatten unflatten": _view,
    "contiguous": _contiguous,
    "unbind": _unbind,
    "select narrow": _part,
    "chunk tensor_split split split_with_sizes": _parts_of,
    "transpose swapaxes swapdims permute movedim moveaxis t T mT adjoint": _transpose,
    "rearrange": _rearrange,
    "expand broadcast_to expand_as": _expand,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "clone to type type_as float half double bfloat16 int long bool cuda cpu detach requires_grad_ data real alias "
    "view_as reshape_as":
        _same,
    "relu gelu silu sigmoid tanh exp log sqrt rsqrt abs neg square sin cos erf elu leaky_relu softplus relu6 mish "
    "hardtanh hardswish dropout1d dropout2d alpha_dropout feature_dropout clamp clamp_min clamp_max clip "
    "nan_to_num bernoulli round floor ceil sign zeros_like ones_like rand_like randn_like empty_like full_like "
    "normalize logical_not isnan isinf add sub mul div true_divide multiply divide subtract pow maximum minimum "
    "eq ne lt le gt ge logical_and logical_or": _elementwise,
    "masked_fill where": _masked,
    "tril triu": _triangle,
    "arange": _range,
    "from_numpy as_tensor tensor astype": _array,
    "dropout": _dropout,
    "zeros ones empty rand randn full eye": _filled,
    "stack": _stack,
    "cat concat concatenate repeat tile repeat_interleave layer_norm "
    "new_zeros new_ones new_empty new_full": _allocated,
    "matmul bmm mm baddbmm addmm": _matmul,
    "einsum": _einsum,
    "linear": _linear,
    "softmax log_softmax softmin": _softmax,
    "scaled_dot_product_attention": _attention,
    "pad": _padded,
    "size dim ndimension ndim numel nelement": _asked,
    "sum mean amax amin logsumexp cumsum flip roll gather index_select norm std var": _something,
}.items():  # fmt: skip
    OPERATIONS.update(dict.fromkeys(_names.split(), _operation))
