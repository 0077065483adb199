"""What calls may give: of functions and classes of the file, layers, operations, builtins."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.screen import facets as fc
from mha_lint.screen import fills
from mha_lint.screen.callables import SELF, Closure, Env, Layer, Mapped, Object, Perhaps, Qualified, perhaps
from mha_lint.screen.facets import (
    GIVEN,
    INTEGER,
    KNOWN,
    LITERAL,
    ROLES,
    SCORES,
    SIZES,
    UNMOVED,
    WEIGHTS,
    Value,
    joined,
    rich,
)
from mha_lint.screen.operations import OPERATIONS, Call, is_last_dim, told_by_name
from mha_lint.screen.outline import Class

if TYPE_CHECKING:
    from mha_lint.screen.look import Look


_ELEMENTWISE_LAYERS = frozenset(
    "ReLU GELU SiLU Sigmoid Tanh ReLU6 LeakyReLU ELU Mish Hardswish Softplus QuickGELU "
    "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout".split()
)
_NORMS = frozenset("RMSNorm GroupNorm BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d".split())
MAX_STARRED = 16  # parameters


def call(look: Look, node: ast.Call, env: Env) -> Value:
    function = node.func
    look.steps += 1
    if isinstance(function, ast.Attribute):
        return _call_attribute(look, node, function, env)
    callee = look.value(function, env)
    args, keywords = _arguments(look, node, env)
    return apply(look, callee, args, keywords, node, env)


def _arguments(look: Look, node: ast.Call, env: Env) -> tuple[list[Value], dict[str, Value]]:
    args = [look.value(arg, env) for arg in node.args]
    if any(isinstance(arg, ast.Starred) for arg in node.args):
        args = [fc.either(args)] * MAX_STARRED  # each may be any of them
    keywords = {keyword.arg or "**": look.value(keyword.value, env) for keyword in node.keywords}
    return args, keywords


def _call_attribute(look: Look, node: ast.Call, function: ast.Attribute, env: Env) -> Value:
    name = function.attr
    qualified = look.qualified(function, env)
    if qualified is not None:
        args, keywords = _arguments(look, node, env)
        return _call_qualified(look, qualified, args, keywords, node, env)
    receiver = look.value(function.value, env)
    args, keywords = _arguments(look, node, env)
    if name == "append" and len(args) == 1:
        _append(look, function.value, args[0], env)
        return 0
    if name == "reshape" and _is_plain_contiguous(function.value):
        look.suspect("contiguous")
    of_self = SELF in fc.others(receiver)
    if of_self and name == "register_buffer" and len(args) > 1 and isinstance(node.args[0], ast.Constant):
        look.set_attribute(str(node.args[0].value), args[1])
    result: Value = 0
    if not of_self:
        operation = OPERATIONS.get(name)
        if operation is not None or name == "masked_fill_":
            operation = operation or OPERATIONS["masked_fill"]
            result = operation(Call(look, name, [receiver, *args], keywords, node))
            _meet(look, [receiver, *args, *keywords.values()])
            result = joined(result, fc.facets(receiver)) if name == "masked_fill_" else result
        elif name.endswith("_") and not name.startswith("__"):
            _meet(look, [receiver, *args])
            result = fc.facets(receiver)
    callee = look.attribute(name, receiver)
    return joined(result, apply(look, callee, args, keywords, node, env))


def _append(look: Look, target: ast.expr, value: Value, env: Env) -> None:
    longer = fc.many(value)
    if isinstance(target, ast.Name):
        env[target.id] = joined(env.get(target.id, 0), longer)
    elif isinstance(target, ast.Attribute):
        look.set_attribute(target.attr, longer)


def apply(look: Look, callee: Value, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env) -> Value:
    """What calling it may give."""
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    result = told_by_name(name, args)
    for other in fc.others(callee):
        match other:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                given = [0, *args] if other in look.file.bound else args
                result = joined(result, look.run(other, given, keywords))
            case Perhaps(callee=inner):
                value = apply(look, rich(inner), args, keywords, node, env)
                result = joined(result, fc.unproved(value))
            case Closure(function=inner, env=outer):
                # It may have been made here: then it reads the variables as they are now.
                now = {name: joined(value, env.get(name, 0)) for name, value in outer.items()}
                result = joined(result, look.run(inner, args, keywords, env | now))
            case Class():
                init = other.method("__init__")
                if init is not None:
                    look.run(init, [0, *args], keywords)
                result = joined(result, look.objects[other])
                if other.method("forward") is None:
                    for base in (b for cls in other.lineage for b in cls.node.bases):
                        name_of = look.qualified(base, {}) or ""
                        if name_of.startswith("torch.nn."):
                            result = joined(result, layer(look, name_of.rpartition(".")[2], args, keywords, node))
            case Object():
                forward = other.cls.method("forward") or other.cls.method("__call__")
                if forward is not None:
                    result = joined(result, look.run(forward, [0, *args], keywords))
            case Qualified(name=full):
                result = joined(result, _call_qualified(look, full, args, keywords, node, env))
            case _ if other is SELF:
                for called in ("forward", "__call__"):
                    result = joined(result, apply(look, look.attribute(called, rich(SELF)), args, keywords, node, env))
            case Layer():
                result = joined(result, _apply_layer(look, other, args, keywords, node, env))
    return result


def _apply_layer(
    look: Look, layer: Layer, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env
) -> Value:
    tensor = fc.facets(args[0]) if args else fc.facets(keywords.get("input", keywords.get("x", 0)))
    match layer.kind:
        case "Sequential":
            value: Value = args[0] if args else 0
            for item in layer.items:
                value = apply(look, item, [value], {}, node, env)
            return value
        case "Linear" | "LazyLinear" | "NonDynamicallyQuantizableLinear":
            return (
                fc.allocated(tensor, keeps=SIZES | fc.HOME) | UNMOVED | fc.UNSCALED | fc.OWN | fc.facets(layer.items[0])
                if layer.items
                else 0
            )
        case "Conv1d" | "Conv2d" | "Conv3d":
            return (
                tensor & (SIZES | fc.HOME)
                | GIVEN
                | KNOWN
                | UNMOVED
                | fc.UNSCALED
                | fc.OWN
                | (fc.facets(layer.items[0]) if layer.items else 0)
            )
        case "LayerNorm":
            return fc.allocated(tensor)
        case "Softmax":
            if tensor & SCORES:
                if tensor & fc.UNSCALED or look.doubtful:
                    look.suspect("scale")
                if not layer.items:
                    look.suspect("softmax")
            return fc.allocated(tensor, keeps=SIZES | fc.HOME) | WEIGHTS
        case "Identity":
            return tensor
        case "MultiheadAttention":
            fills.attention(look, *args[3:], *keywords.values())
            _meet(look, [fc.OWN, *args[3:], *keywords.values()])
            return fc.many(KNOWN | fc.OWN)
        case "Rearrange":
            return fc.transposed(tensor) | fc.reshaped(fc.transposed(tensor), LITERAL, copies=True)
        case kind if kind in _ELEMENTWISE_LAYERS:
            return fc.elementwise(tensor)
        case kind if kind in _NORMS:
            return tensor & (SIZES | ROLES) | KNOWN
        case _:
            return 0


def _call_qualified(
    look: Look, name: str, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env
) -> Value:
    last = name.rpartition(".")[2]
    if last.startswith("get") and name != "builtins.getattr":  # a default of a table of functions
        for default in (*args[-1:], *keywords.values()):
            if any(isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, Closure)) for o in fc.others(default)):
                return perhaps(default)
    if name.startswith(("torch.", "einops.")):
        operation = OPERATIONS.get(last)
        if operation is not None:
            _meet(look, [*args, *keywords.values()])
            first = [keywords[n] for n in ("input", "tensor", "tensors", "x", "self") if n in keywords]
            return operation(Call(look, last, args or first, keywords, node))
        if last[:1].isupper():
            return layer(look, last, args, keywords, node)
        return 0
    if name in ("numpy.tril", "numpy.triu"):
        return KNOWN | fc.MARKED | fc.TRIANGULAR
    if name.startswith("builtins."):
        return _builtin(look, last, args, keywords, node, env)
    if last in ("deepcopy", "copy") and args:
        return args[0]
    return told_by_name(last, args)


def layer(look: Look, kind: str, args: list[Value], keywords: dict[str, Value], node: ast.Call) -> Value:
    if kind == "Size" and args:
        return args[0]
    if kind in ("ModuleList", "ParameterList"):
        return args[0] if args else fc.many(0)
    if kind in ("Parameter", "Buffer"):
        return fc.facets(args[0]) & ~fc.HOME | KNOWN | fc.OWN if args else KNOWN | fc.OWN
    if kind == "Sequential":
        return rich(Layer(kind, tuple(args)))
    if kind == "Softmax":
        dims = [*node.args, *(keyword.value for keyword in node.keywords)]
        return rich(Layer(kind, (0,) if is_last_dim(dims) else ()))
    width = args[1] if len(args) > 1 else keywords.get("out_features", keywords.get("out_channels", 0))
    return rich(Layer(kind, (fc.facets(width) & SIZES,)))


def _builtin(look: Look, name: str, args: list[Value], keywords: dict[str, Value], node: ast.Call, env: Env) -> Value:
    match name:
        case "map" if len(args) == 2:
            item = fc.element(args[1])
            mapped = apply(look, args[0], [item], {}, node, env)
            return joined(fc.many(mapped), rich(Mapped(fc.facets(args[1]))))
        case "zip":
            return fc.many(fc.items(list(map(fc.element, args))))
        case "enumerate" if args:
            return fc.many(fc.items([GIVEN | INTEGER | SIZES, fc.element(args[0])]))
        case "range":
            return fc.many(GIVEN | LITERAL)
        case "len":
            return INTEGER | SIZES
        case "tuple" | "list" | "int" | "reversed" | "sorted" | "iter" | "next":
            return args[0] if args else 0
        case "float" if node.args and args:
            numbers = fc.facets(args[0]) & fc.NUMBERS | fills.number_of_text(node.args[0])
            return joined(told_by_name(name, args), numbers)
        case "getattr" if args:
            return GIVEN
        case "super":
            return rich(SELF)
        case "max" | "min" | "sum":
            return fc.either(args)
    return told_by_name(name, args)


def _meet(look: Look, values: list[Value]) -> None:
    """Tensors of two devices may meet in an operation."""
    if fc.may_meet(*map(fc.all_facets, values)):
        look.suspect("device")


def _is_plain_contiguous(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "contiguous"
        and not node.args
        and not node.keywords
    )
