"""Calls: of methods of tensors, of torch and einops functions, of builtins."""

from __future__ import annotations

import ast
from functools import lru_cache

from msgspec.structs import replace

from mha_lint.model import discarding, einops_api, einops_turns, kernels, layers, masking, operations, tables
from mha_lint.model.interpreter import assignment, numbers, spread, texts
from mha_lint.model.interpreter.builtins import BUILTINS
from mha_lint.model.interpreter.deciding import flag
from mha_lint.model.keys import of_self, part
from mha_lint.model.marks import Mask, Masking
from mha_lint.model.operations import OPERATIONS, as_masks
from mha_lint.model.operations.devices import met
from mha_lint.model.rotary import RotaryTable, as_buffer
from mha_lint.model.run import Call, Run, normal
from mha_lint.model.sizes import ONE
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
    Partial,
    Qualified,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    State,
    Super,
    Table,
    Tensor,
    Unknown,
    Value,
    as_tensor,
    of_shape,
)
from mha_lint.syntax.names import lazily_imported
from mha_lint.syntax.nodes import argument, text_of
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import CACHE, NEIGHBOURS, is_said

_OF_ATTENTION = frozenset({"attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"})
_RESHAPING_IN_PLACE = frozenset(
    "transpose_ swapaxes_ swapdims_ t_ squeeze_ unsqueeze_ resize_ resize_as_ set_ as_strided_".split()
)

_ISINSTANCE = Qualified("builtins.isinstance")


def call(run: Run, node: ast.Call, state: State) -> Value:
    if isinstance(node.func, ast.Name) and node.func.id == "super" and run_owner(state) is not None:
        owner = run_owner(state)
        assert owner is not None
        return Super(owner.cls)
    lazy = lazily_imported(node, run.names) if node.args and text_of(node.args[0]) else None
    if lazy is not None:
        return Qualified(lazy)
    function = run.built(node.func, run.callee(node.func, state), state)
    followed = isinstance(function, (Function, ClassValue, Self, Instance))
    args: list[Value] = []
    unknown: list[int] = []  # where items stand of which nothing is known
    keywords: dict[str, Value] = {}
    if isinstance(function, Qualified) and function == _ISINSTANCE:
        if node.args:
            run.evaluate(node.args[0], state)
        return Unknown(run.key(node))  # the class that is asked for, maybe one of another file, tells nothing
    for arg in node.args:
        if not isinstance(arg, ast.Starred):
            args.append(run.evaluate(arg, state))
            continue
        value = operations.expanded(_sizes(run.evaluate(arg.value, state), state), state)
        if isinstance(value, Sequence):
            args += value.items
            continue
        if not isinstance(value, Leading) or args:  # else the function asks for the rank of what leads
            keywords["*"] = keywords["**"] = NOTHING
            unknown.append(len(args))
        args.append(value)
    for keyword in node.keywords:
        value = run.evaluate(keyword.value, state)
        if keyword.arg == "is_causal":
            value = flag(run, value, state)
        if keyword.arg is not None:
            keywords[keyword.arg] = value
            continue
        names = spread.names_of(keyword.value, run.function) if followed else None
        for name in names or ("**",):
            keywords[name] = NOTHING
    if followed:
        args = [value for index, value in enumerate(args) if index not in unknown]
    return run.apply(function, Call(run, state, node, tuple(args), keywords))


def _sizes(value: Value, state: State) -> Value:
    if isinstance(value, ShapeOf):
        return operations.shape_of(normal(as_tensor(value.tensor) or Tensor(), state))
    return value


def run_owner(state: State) -> Self | None:
    owner = state.variables.get("self")
    return owner if isinstance(owner, Self) else None


def _default_of_a_table(run: Run, name: str, call: Call, entry: Value | None = None) -> Value | None:
    """``table.get(key, function)`` gives the function of this file, or an ``entry`` of which less is known."""
    default = call.args[-1] if len(call.args) > 1 else call.keywords.get("default")
    if not name.startswith("get") or not isinstance(default, Function):
        return entry
    return default if run.choose(2) == 0 else entry or Unknown(run.key(call.node))


def call_method(run: Run, receiver: Value, name: str, call: Call) -> Value:
    """``receiver.name(...)`` where the receiver is a tensor, or unknown and used as one."""
    if isinstance(receiver, Table) and name == "get" and call.args:
        return tables.looked_up(run, receiver, call.args[0], call.node, call.state, *call.args[1:2])
    default = _default_of_a_table(run, name, call)
    if default is not None:
        return default
    if name == "get" and len(call.args) == 1:
        items = receiver.handed if isinstance(receiver, Unknown) else receiver
        if isinstance(items, Repeated):  # a dictionary whose values are all alike
            return items.item
    if name in _RESHAPING_IN_PLACE:
        node = call.node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assignment.assign(run, node.func.value, Unknown(run.key(node)), call.state)
        return Unknown(run.key(call.node))
    if isinstance(receiver, Int) and name == "sum":
        receiver = Unknown(run.key(call.node))  # two unknown tensors multiplied are taken for sizes
    if isinstance(receiver, Const) and isinstance(receiver.value, str):
        return texts.method(run, receiver.value, name, call)
    if isinstance(receiver, Number):
        return numbers.method(run, receiver, name, call)
    if name == "new_tensor":
        return numbers.of_one_number(run, call)
    if isinstance(receiver, (Tensor, Unknown)):
        operation = OPERATIONS.get(name)
        if operation is not None:
            tensor = as_tensor(receiver)
            assert tensor is not None
            result = operation(replace(call, args=(tensor, *call.args)))
            if run.stands_alone(call.node):
                discarding.called_as_method(run, receiver, name, call, result)
            return result
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
        return Sequence(tuple(Tensor(key=part(key, index), roles=frozenset({"cached"})) for index in (0, 1)))
    return Unknown(run.key(call.node))


def _is_cache(node: ast.expr) -> bool:
    """The method is called of an object that is named as a cache of keys and values."""
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
    if operation is None and receiver.roles & masking.SCORED:
        result = replace(result, masked=masking.through_unknown(receiver, call.node))
    if isinstance(made, Tensor):
        result = replace(receiver, mask=made.mask, masked=made.masked)
        if arithmetic:
            result = replace(result, roles=made.roles, normalised=made.normalised, scale=made.scale)
    if result != receiver and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        assignment.overwrite(run, node.func.value, result, call.state)
    return result


def register_buffer(call: Call) -> None:
    """``self.register_buffer("mask", tensor)``, of what is known to be a mask, or is one number."""
    match call.args:
        case (Const(str(name)), Number() as number, *_):
            call.state.attributes[name] = number
        case (Const(str(name)), Tensor(shape=(first, second, _)) as tensor, *_) if ONE in (first, second):
            known = isinstance(tensor.mask, Mask) and not tensor.mask.uniform
            table = of_shape(tensor.shape, key=of_self(name))  # of positions, or a mask; it is broadcast
            call.state.attributes[name] = replace(tensor, homes=(), key=table.key) if known else table
        case (Const(str(name)), Tensor(mask=Mask(uniform=False)) as tensor, *_):
            call.state.attributes[name] = replace(tensor, homes=(), single=False)  # ``module.half()`` casts it
        case (Const(str(name)), Tensor(rotary=RotaryTable() as table), *_):
            key = of_self(name)
            held = as_buffer(table)
            call.state.attributes[name] = Tensor(key=key, inputs=frozenset({key}), rotary=held)
        case (Const(str(name)), *_) if name in call.state.attributes:  # as where a subclass has a buffer of its own
            call.state.attributes[name] = Unknown(of_self(name))


def is_like_torch(call: Call) -> bool:
    """The call gives what torch's ``scaled_dot_product_attention`` takes: three tensors, and more by its names."""
    return len(call.args) == 3 and call.keywords.keys() <= _OF_ATTENTION


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


_TORCH_PREFIXES = tuple(
    f"torch.{part}" for part in ("nn.functional.", "functional.", "linalg.", "special.", "nn.", "Tensor.", "")
)


def call_qualified(run: Run, name: str, call: Call) -> Value:
    """A call of something imported, or of a builtin."""
    own = _operation_of_torch(name)
    if own is not None:
        return _called_of_torch(run, own, call)
    if name != "builtins.getattr":
        default = _default_of_a_table(run, name.rpartition(".")[2], call, kernels.entry(name))
    else:
        default = None
    if default is not None:
        return default
    if name.startswith("numpy.") or name in _ARRAYS:
        array = as_masks.of_array(name, call)
        if array is not None:
            return array
    if name in ("typing.cast", "typing_extensions.cast") and len(call.args) == 2:
        return call.args[1]
    if name in BUILTINS:
        return BUILTINS[name](run, call)
    if name.startswith("einops.") and run.stands_alone(call.node):
        discarding.called_with_pattern(run, call)
    if name in ("einops.rearrange", "einops.einops.rearrange"):
        return einops_turns.rearranged(call, einops_api.rearrange(call))
    if name in ("einops.repeat", "einops.einops.repeat"):
        return einops_turns.repeated(call, einops_api.repeat(call))
    if name in ("einops.einsum", "einops.einops.einsum"):
        return einops_api.einsum(call)
    if kernels.is_kernel(name):
        return kernels.attend(name, call)
    if name == "opt_einsum.contract":
        return OPERATIONS["einsum"](call)
    if name == "einops.layers.torch.Rearrange":
        return layers.rearrange_layer(_as_call(call), call.args, call.keywords)
    if name == "functools.partial" and call.args and _is_followed(call.args[0]):
        return Partial(call.args[0], call.args[1:], tuple(call.keywords.items()))
    if name.endswith(".skip_init") and call.args and isinstance(call.args[0], Qualified):
        return call_qualified(run, call.args[0].name, replace(call, args=call.args[1:]))
    if name.startswith("torch.nn.") and name.count(".") == 2 and name.rpartition(".")[2][:1].isupper():
        built = layers.build(name.rpartition(".")[2], _as_call(call), call.args, call.keywords, call.state)
        return Unknown(run.key(call.node)) if built == NOTHING else built
    if is_said(NEIGHBOURS, name):
        return Tensor(key=run.key(call.node), roles=frozenset({"weights"}), masked=frozenset({Masking("unknown")}))
    own = _name_in_torch(name)
    return Unknown(run.key(call.node)) if own is None else _called_of_torch(run, own, call)


_ARRAYS = frozenset({"torch.from_numpy", "torch.as_tensor", "torch.tensor"})


@lru_cache(maxsize=4096)
def _name_in_torch(name: str) -> str | None:
    """The name of an operation, without the part of torch that has it; None for a name of another package."""
    return next((name.removeprefix(prefix) for prefix in _TORCH_PREFIXES if name.startswith(prefix)), None)


@lru_cache(maxsize=4096)
def _operation_of_torch(name: str) -> str | None:
    """The same; None also for a name that means more than an operation: a layer, a table, a kernel, an array."""
    more = name in _ARRAYS or name in BUILTINS or kernels.is_kernel(name) or kernels.entry(name) is not None
    if more or name.endswith(".skip_init") or is_said(NEIGHBOURS, name):
        return None
    last = name.rpartition(".")[2]
    builds = name.startswith("torch.nn.") and name.count(".") == 2 and last[:1].isupper()
    return None if builds or last.startswith("get") else _name_in_torch(name)


def _called_of_torch(run: Run, own: str, call: Call) -> Value:
    operation = OPERATIONS.get(own)
    if operation is None:
        return Unknown(run.key(call.node))
    result = _written(run, call, operation(call))
    if run.stands_alone(call.node):
        discarding.called_as_function(run, own, call, result)
    return result


def _written(run: Run, call: Call, result: Value) -> Value:
    """The result, which a call may write into what it is given: ``torch.softmax(x, -1, out=x)``, ``inplace=True``."""
    node = _as_call(call) if isinstance(call.node, ast.Call) else None
    into = None
    if node is not None and "out" in call.keywords:
        into = argument(node, len(node.args), "out")
    elif node is not None and call.keywords.get("inplace") == Const(True):
        into = argument(node, 0, "input")
    if isinstance(into, ast.Name) and isinstance(result, Tensor):
        assignment.assign(run, into, result, call.state)
    return result


def _is_followed(value: Value) -> bool:
    """A call of the value is told by its arguments alone, not by how they are written: of a class, or our function."""
    match value:
        case ClassValue() | Function():
            return True
        case Qualified(name):
            return name.rpartition(".")[2][:1].isupper()
        case _:
            return False


def _as_call(call: Call) -> ast.Call:
    assert isinstance(call.node, ast.Call)
    return call.node
