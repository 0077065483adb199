"""Calls: of methods of tensors, of torch and einops functions, of builtins."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import suppress
from math import isfinite

from mha_lint.model import assignment, einops_api, layers, operations
from mha_lint.model.factors import Factor, of_number
from mha_lint.model.marks import Mask
from mha_lint.model.operations import OPERATIONS, as_masks
from mha_lint.model.operations.devices import met
from mha_lint.model.records import replace
from mha_lint.model.run import Call, Run, normal
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import (
    NONE,
    NOTHING,
    ClassValue,
    Const,
    Function,
    Instance,
    Int,
    Leading,
    Number,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    State,
    Super,
    Tensor,
    Unknown,
    Value,
    as_factor,
    as_size,
    as_tensor,
    integer,
)
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import CACHE

_RESHAPING_IN_PLACE = frozenset(
    "transpose_ swapaxes_ swapdims_ t_ squeeze_ unsqueeze_ resize_ resize_as_ set_ as_strided_".split()
)


def call(run: Run, node: ast.Call, state: State) -> Value:
    if isinstance(node.func, ast.Name) and node.func.id == "super" and run_owner(state) is not None:
        owner = run_owner(state)
        assert owner is not None
        return Super(owner.cls)
    function = run.built(node.func, run.callee(node.func, state), state)
    args: list[Value] = []
    unknown: list[int] = []  # where items stand of which nothing is known
    keywords: dict[str, Value] = {}
    for arg in node.args:
        if not isinstance(arg, ast.Starred):
            args.append(run.evaluate(arg, state))
            continue
        value = operations.expanded(_sizes(run.evaluate(arg.value, state), state), state)
        if isinstance(value, Sequence):
            args += value.items
            continue
        if not isinstance(value, Leading) or args:  # else the function asks for the rank of what leads
            keywords["**"] = NOTHING
            unknown.append(len(args))
        args.append(value)
    for keyword in node.keywords:
        value = run.evaluate(keyword.value, state)
        keywords[keyword.arg or "**"] = NOTHING if keyword.arg is None else value
    if isinstance(function, (Function, ClassValue, Self, Instance)):
        args = [value for index, value in enumerate(args) if index not in unknown]
    return run.apply(function, Call(run, state, node, tuple(args), keywords))


def _sizes(value: Value, state: State) -> Value:
    if isinstance(value, ShapeOf):
        return operations.shape_of(normal(as_tensor(value.tensor) or Tensor(), state))
    return value


def run_owner(state: State) -> Self | None:
    owner = state.variables.get("self")
    return owner if isinstance(owner, Self) else None


def _default_of_a_table(run: Run, name: str, call: Call) -> Value | None:
    """``table.get(key, function)`` gives the function of this file, or another that is not known."""
    default = call.args[-1] if len(call.args) > 1 else call.keywords.get("default")
    if not name.startswith("get") or not isinstance(default, Function):
        return None
    return default if run.choose(2) == 0 else Unknown(run.key(call.node))


def call_method(run: Run, receiver: Value, name: str, call: Call) -> Value:
    """``receiver.name(...)`` where the receiver is a tensor, or unknown and used as one."""
    default = _default_of_a_table(run, name, call)
    if default is not None:
        return default
    if name in _RESHAPING_IN_PLACE:
        node = call.node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assignment.assign(run, node.func.value, Unknown(run.key(node)), call.state)
        return Unknown(run.key(call.node))
    if isinstance(receiver, (Tensor, Unknown)):
        operation = OPERATIONS.get(name)
        if operation is not None:
            tensor = as_tensor(receiver)
            assert tensor is not None
            return operation(replace(call, args=(tensor, *call.args)))
        if name == "astype" and isinstance(receiver, Tensor) and receiver.mask is not None:
            call = replace(call, args=(receiver, *call.args))
            return replace(receiver, mask=as_masks.as_array_type(call))
        if name.endswith("_") and not name.startswith("__") and isinstance(receiver, Tensor):
            if name != "copy_":  # which copies from any device
                met(call, (receiver, *call.args))
            return _in_place(run, receiver, name, call)
    if isinstance(receiver, (Sequence, Repeated)) and name == "append" and len(call.args) == 1:
        return _append(run, receiver, call)
    if name == "update" and len(call.args) > 1 and _is_cache(call.node):
        key = run.key(call.node)
        return Sequence(tuple(Tensor(key=f"{key}.{part}", roles=frozenset({"cached"})) for part in (0, 1)))
    return Unknown(run.key(call.node))


def _is_cache(node: ast.expr) -> bool:
    """Whether what a method is called of is named as a cache of keys and values."""
    function = node.func if isinstance(node, ast.Call) else None
    return isinstance(function, ast.Attribute) and names_said(CACHE, function.value)


def _in_place(run: Run, receiver: Tensor, name: str, call: Call) -> Value:
    """``x.div_(y)``: the same memory, with what ``x / y`` means; so for what is known of a mask, or was masked."""
    operation = OPERATIONS.get(name[:-1])
    node = call.node
    arithmetic = operation is not None and operations.TABLE[name[:-1]].in_place
    masks_it = (receiver.mask is not None or receiver.masked or name == "masked_fill_") and name != "requires_grad_"
    if not arithmetic and not masks_it:
        return receiver
    made = operation(replace(call, args=(receiver, *call.args))) if operation is not None else None
    result = replace(receiver, mask=None)
    if isinstance(made, Tensor):
        result = replace(receiver, mask=made.mask, masked=made.masked)
        if arithmetic:
            result = replace(result, roles=made.roles, normalised=made.normalised, scale=made.scale)
    if result != receiver and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        assignment.overwrite(run, node.func.value, result, call.state)
    return result


def register_buffer(call: Call) -> None:
    """``self.register_buffer("mask", tensor)``, of what is known to be a mask."""
    match call.args:
        case (Const(str(name)), Tensor(mask=Mask(uniform=False)) as tensor, *_):
            call.state.attributes[name] = replace(tensor, homes=())


def _append(run: Run, receiver: Sequence | Repeated, call: Call) -> Value:
    """``items.append(x)``: in a loop the list holds as many alike as the loop has turns."""
    node = call.node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        longer: Value = NOTHING
        if run.looping and receiver in (Sequence(()), Repeated(call.args[0], run.turns)):
            longer = Repeated(call.args[0], run.turns)
        elif isinstance(receiver, Sequence) and not run.looping:
            longer = Sequence((*receiver.items, call.args[0]))
        assignment.assign(run, node.func.value, longer, call.state)
    return NONE


_TORCH_PREFIXES = ("torch.nn.functional.", "torch.linalg.", "torch.special.", "torch.nn.", "torch.Tensor.", "torch.")


def call_qualified(run: Run, name: str, call: Call) -> Value:
    """A call of something imported, or of a builtin."""
    default = _default_of_a_table(run, name.rpartition(".")[2], call) if name != "builtins.getattr" else None
    if default is not None:
        return default
    if name.startswith("numpy.") or name in ("torch.from_numpy", "torch.as_tensor", "torch.tensor"):
        array = as_masks.of_array(name, call)
        if array is not None:
            return array
    if name in _BUILTINS:
        return _BUILTINS[name](run, call)
    if name in ("einops.rearrange", "einops.einops.rearrange"):
        return einops_api.rearrange(call)
    if name in ("einops.repeat", "einops.einops.repeat"):
        return einops_api.repeat(call)
    if name in ("einops.einsum", "einops.einops.einsum"):
        return einops_api.einsum(call)
    if name == "einops.layers.torch.Rearrange":
        return layers.rearrange_layer(_as_call(call), call.args, call.keywords)
    if name.startswith("torch.nn.") and name.count(".") == 2 and name.rpartition(".")[2][:1].isupper():
        built = layers.build(name.rpartition(".")[2], _as_call(call), call.args, call.keywords, call.state)
        return Unknown(run.key(call.node)) if built == NOTHING else built
    for prefix in _TORCH_PREFIXES:
        if name.startswith(prefix):
            operation = OPERATIONS.get(name.removeprefix(prefix))
            return Unknown(run.key(call.node)) if operation is None else operation(call)
    return Unknown(run.key(call.node))


def _as_call(call: Call) -> ast.Call:
    assert isinstance(call.node, ast.Call)
    return call.node


def _map(run: Run, call: Call) -> Value:
    if len(call.args) != 2:
        return NOTHING
    function, items = call.args
    match items:
        case Sequence(values):
            return Sequence(tuple(run.apply(function, replace(call, args=(v,), keywords={})) for v in values))
        case Repeated(item, count):
            return Repeated(run.apply(function, replace(call, args=(item,), keywords={})), count)
        case Tensor():
            return _map(
                run, replace(call, args=(function, assignment.unpacked(run, items, None, call.node, call.state)))
            )
        case _:
            return Repeated(NOTHING)


def _zip(run: Run, call: Call) -> Value:
    lengths = [len(value.items) for value in call.args if isinstance(value, Sequence)]
    if not lengths:
        return Repeated(Sequence(tuple(map(assignment.element, call.args))))
    return Sequence(
        tuple(
            Sequence(tuple(v.items[index] if isinstance(v, Sequence) else assignment.element(v) for v in call.args))
            for index in range(min(lengths))
        )
    )


def _range(run: Run, call: Call) -> Value:
    size = as_size(call.args[0]) if len(call.args) == 1 else None
    return Repeated(Unknown(run.key(call.node)), None if size is None else call.state.normal(size))


def _enumerate(run: Run, call: Call) -> Value:
    index = Unknown(run.key(call.node))
    match call.args[:1]:
        case (Sequence(items),):
            return Sequence(tuple(Sequence((integer(i), item)) for i, item in enumerate(items)))
        case (Repeated(item, count),):
            return Repeated(Sequence((index, item)), count)
        case _:
            return Repeated(Sequence((index, NOTHING)))


def _len(run: Run, call: Call) -> Value:
    match call.args[:1]:
        case (Sequence(items),):
            return integer(len(items))
        case (Repeated(_, Size() as count),):
            return Int(count)
        case (Tensor() as tensor,):
            return operations.dimension(tensor, 0)
        case _:
            return Unknown(run.key(call.node))


def _first(run: Run, call: Call) -> Value:
    return call.args[0] if call.args else Sequence(())


def _int(run: Run, call: Call) -> Value:
    return _whole(run, call, int)


def _round(run: Run, call: Call) -> Value:
    return _whole(run, call, round)


def _whole(run: Run, call: Call, convert: Callable[[float], int]) -> Value:
    """``int(ratio * width)`` and ``round(…)``: some whole number, which is known where the argument is."""
    match call.args[:1]:
        case (Number(Factor(constant=float(number))),) if isfinite(number):
            return integer(convert(number))
        case (value,) if (size := as_size(value)) is not None:
            return Int(size)
        case _:
            return Int(symbol(run.key(call.node)))


def _size_class(run: Run, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


def _getattr(run: Run, call: Call) -> Value:
    match call.args:
        case (Unknown(str(key)), Const(str(name)), *_):
            return Unknown(f"{key}.{name}")
        case _:
            return Unknown(run.key(call.node))


def _deepcopy(run: Run, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


def _float(run: Run, call: Call) -> Value:
    """``float("-inf")``, ``float(head_dim)``."""
    match call.args:
        case (Const(str(text)),):
            with suppress(ValueError):
                return Number(of_number(float(text)))
            return Number()
        case (value,):
            return Number(as_factor(value))
        case _:
            return Number()


def _square_root(run: Run, call: Call) -> Value:
    if call.args and isinstance(call.args[0], Tensor):
        return OPERATIONS["sqrt"](call)
    factor = as_factor(call.args[0]) if call.args else None
    return Number(None if factor is None else factor.substitute(call.state.definitions).power(0.5))


def _inverse_square_root(run: Run, call: Call) -> Value:
    root = _square_root(run, call)
    if not isinstance(root, Number):
        return root
    return Number(None if root.factor is None else root.factor.power(-1.0))


def _number(run: Run, call: Call) -> Value:
    """``torch.tensor(head_dim)``: a tensor of one number is used as that number."""
    match call.args:
        case ((Int() | Number()) as value, *_):
            return Number(as_factor(value))
        case _:
            return Unknown(run.key(call.node))


_BUILTINS: dict[str, Callable[[Run, Call], Value]] = {
    "builtins.map": _map,
    "builtins.zip": _zip,
    "builtins.range": _range,
    "builtins.enumerate": _enumerate,
    "builtins.len": _len,
    "builtins.tuple": _first,
    "builtins.list": _first,
    "builtins.int": _int,
    "builtins.round": _round,
    "builtins.float": _float,
    "builtins.getattr": _getattr,
    "math.sqrt": _square_root,
    "numpy.sqrt": _square_root,
    "torch.sqrt": _square_root,
    "torch.tensor": _number,
    "torch.rsqrt": _inverse_square_root,
    "torch.Size": _size_class,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
}
