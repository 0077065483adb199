"""Where tensors live: which calls made one on the default device, and where it meets one of the module's own.

Indexing by a tensor of another device is legal, and so is any operation with a tensor of no dimension; a type or a
size can be taken over from anywhere. All else raises.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.conditions import Taken
from mha_lint.model.keys import Key
from mha_lint.model.marks import Positions
from mha_lint.model.run import Call
from mha_lint.model.values import Int, Number, Repeated, Sequence, Tensor, Unknown, Value, as_tensor, tensors
from mha_lint.syntax.nodes import last_name
from mha_lint.vocabulary import TYPE, is_said

_ON_THE_MODULE = frozenset({"projection", "weights", "context", "merged", "projected", "parameter"})


class Device(Enum):
    """Where the result of an operation lives."""

    DEFAULT = "on the default device, unless the call names one"
    FIRST = "where its first operand lives, unless the call names a device"
    SHAPE = "as the shape function tells: it has several operands, which it takes elementwise"
    MEETS = "where its operands meet"
    ATTENDS = "where its operands meet; queries, keys and values are never made on the spot"
    MOVES = "elsewhere"
    CASTS = "elsewhere, unless nothing but a type is named"


class Meeting(Struct, frozen=True):
    """A tensor that was made on the default device meets one on the module's, on some path.

    ``node`` is the operation, or the call that leads to it in another module, and ``function`` is what that stands in.
    """

    node: ast.expr
    inputs: frozenset[Key]  # the parameters that the other is computed from
    conditions: Taken
    symbol: str
    function: ast.AST  # the one that runs


def placed(device: Device, call: Call, result: Value) -> Value:
    """The result of an operation, told where it lives."""
    elsewhere = "device" in call.keywords or "**" in call.keywords
    if device is Device.DEFAULT and not _is_of_a_tensor(call):
        return _at(result, () if elsewhere else (call.node,))
    if not (any(map(_is_elsewhere, call.args)) or any(map(_is_elsewhere, call.keywords.values()))):
        return result
    operands = [tensor for value in (*call.args, *call.keywords.values()) for tensor in tensors(value)]
    match device:
        case Device.MEETS:
            return _at(result, met(call, operands))
        case Device.ATTENDS:
            return _at(result, met(call, [*map(_own, call.args[:3]), *operands]))
        case Device.SHAPE:
            return _at(result, ()) if elsewhere else result
        case Device.MOVES:
            return _at(result, ())
        case Device.CASTS if not _is_a_type(call):
            return _at(result, ())
    first = call.args[0] if call.args else None
    return _at(result, first.homes if isinstance(first, Tensor) and not elsewhere else ())


def housed(device: Device, call: Call, result: Value) -> Value:
    """The result, told where it lives where that depends on positions, which the shape functions do not see."""
    if device is Device.DEFAULT:
        made = isinstance(result, Tensor) and isinstance(result.mask, Positions)
        return placed(device, call, result) if made else result
    if not any(map(_is_stray, call.args)):
        return result
    if isinstance(result, (Unknown, Int, Number)):  # as what is calculated of two unknown values is taken
        result = Tensor(key=call.interpreter.key(call.node))
    if device is Device.SHAPE:
        elsewhere = "device" in call.keywords or "**" in call.keywords
        return _at(result, () if elsewhere else met(call, call.args))
    return placed(device, call, result)


def _is_elsewhere(value: Value) -> bool:
    """Tell whether a value, or something in it, was made on the default device."""
    if isinstance(value, Tensor):
        return bool(value.homes)
    if isinstance(value, (Sequence, Repeated)):
        return any(tensor.homes for tensor in tensors(value))
    return False


def _is_stray(value: Value) -> bool:
    return isinstance(value, Tensor) and isinstance(value.mask, Positions) and bool(value.homes)


def met(call: Call, values: Iterable[Value]) -> tuple[ast.expr, ...]:
    """Note where tensors of two devices meet; the calls that made those of the default device that the result is on.

    A tensor of which nothing is known is on that device as well, or the operation raises.
    """
    operands = [value for value in values if isinstance(value, Tensor)]
    strays = [tensor for tensor in operands if tensor.homes and tensor.shape != ()]
    if not strays:
        return ()
    in_method = call.interpreter.in_method
    others = [tensor for tensor in operands if not tensor.homes]
    own = [
        tensor
        for tensor in others
        if tensor.roles & _ON_THE_MODULE or ("scores" in tensor.roles and (tensor.inputs or in_method))
    ]
    for stray in strays if own else ():
        call.interpreter.saw_meeting(stray.homes, call, frozenset().union(*(tensor.inputs for tensor in own)))
    if own:
        return ()  # it has raised
    return tuple(dict.fromkeys(home for tensor in strays for home in tensor.homes))


def _at(value: Value, homes: tuple[ast.expr, ...]) -> Value:
    match value:
        case Tensor():
            return value if value.homes == homes else replace(value, homes=homes)
        case Sequence(items):
            return Sequence(tuple(_at(item, homes) for item in items))
        case Repeated(item, count):
            return Repeated(_at(item, homes), count)
        case _:
            return value


def _own(value: Value) -> Tensor:
    tensor = as_tensor(value) or Tensor()
    return tensor if tensor.homes else tensor.having("projection")


def _is_of_a_tensor(call: Call) -> bool:
    return bool(call.args and isinstance(call.args[0], Tensor)) or call.interpreter.is_method(call.node)


def _is_a_type(call: Call) -> bool:
    """``.to(…)`` is given nothing but a type; ``.type(…)`` may be given the name of one, "torch.cuda.FloatTensor"."""
    node = call.node
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    named = all(each.arg in ("dtype", "copy", "non_blocking") for each in node.keywords)
    named = named and (node.func.attr != "type" or all(isinstance(arg, ast.Attribute) for arg in node.args))
    return named and all(is_said(TYPE, last_name(arg)) for arg in node.args)
