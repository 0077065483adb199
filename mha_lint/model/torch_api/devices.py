"""Where tensors live: which calls made one on the default device, and where it meets one of the module's own.

Indexing by a tensor of another device is legal, and so is any operation with a tensor of no dimension; a type or a
size can be taken over from anywhere. All else raises.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import wraps

from mha_lint.model.conditions import Taken
from mha_lint.model.keys import Key
from mha_lint.model.records import replace
from mha_lint.model.run import Call, Transfer
from mha_lint.model.values import Repeated, Sequence, Tensor, Unknown, Value, as_tensor, tensors

FACTORIES = frozenset("zeros ones empty rand randn full eye".split())
MOVES = frozenset("to type_as cuda cpu".split())
_MEETING = frozenset(
    "matmul bmm mm baddbmm addmm einsum cat concat concatenate stack masked_fill linear "
    "scaled_dot_product_attention".split()
)
ELEMENTWISE = frozenset(
    "add sub mul div true_divide multiply divide subtract pow maximum minimum eq ne lt le gt ge logical_and logical_or "
    "where".split()
)
_ON_THE_MODULE = frozenset({"projection", "weights", "context", "merged", "projected", "parameter"})
DTYPE = re.compile(r"(?:^|\.)(?:dtype|bfloat16|float\d*|half|double|bool|u?int\d*|long|short)$")  # of a type's name


@dataclass(frozen=True, slots=True)
class Meeting:
    """A tensor that was made on the default device meets one on the module's, at ``node``, on some path."""

    node: ast.expr
    inputs: frozenset[Key]  # the parameters that the other is computed from
    conditions: Taken
    symbol: str
    function: ast.AST  # the one that runs


def placed(name: str, transfer: Transfer) -> Transfer:
    """The same transfer function, its result told where it lives."""

    @wraps(transfer)
    def followed(call: Call) -> Value:
        result = transfer(call)
        if name in FACTORIES and not _is_of_a_tensor(call):
            elsewhere = "device" in call.keywords or "**" in call.keywords
            return _at(result, () if elsewhere else (call.node,))
        operands = [tensor for value in (*call.args, *call.keywords.values()) for tensor in tensors(value)]
        if not any(tensor.homes for tensor in operands):
            return result
        if name == "scaled_dot_product_attention":  # what attends is never made here
            operands = [_own(value) for value in call.args[:3]] + operands
        if name in _MEETING:
            return _at(result, met(call, operands))
        if "device" in call.keywords or "**" in call.keywords or (name in MOVES and not _is_a_type(call)):
            return _at(result, ())
        if name in ELEMENTWISE:  # they tell themselves
            return result
        first = call.args[0] if call.args else None
        return _at(result, first.homes if isinstance(first, Tensor) else ())

    return followed


def met(call: Call, values: Iterable[Value]) -> tuple[ast.expr, ...]:
    """Note where tensors of two devices meet; the calls that made all of them on the default one."""
    values = list(values)
    operands = [value for value in values if isinstance(value, Tensor)]
    strays = [tensor for tensor in operands if tensor.homes and tensor.shape != ()]
    if not strays:
        return ()
    others = [tensor for tensor in operands if not tensor.homes]
    own = [
        tensor
        for tensor in others
        if tensor.roles & _ON_THE_MODULE or ("scores" in tensor.roles and (tensor.inputs or call.interpreter.in_method))
    ]
    for stray in strays if own else ():
        call.interpreter.saw_meeting(stray.homes, call, frozenset().union(*(tensor.inputs for tensor in own)))
    if others or any(isinstance(value, Unknown) for value in values):
        return ()
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
    """Whether ``.to(…)`` is given nothing but a type."""
    node = call.node
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "to":
        return False
    named = all(each.arg in ("dtype", "copy", "non_blocking") for each in node.keywords)
    return named and all(DTYPE.search(call.interpreter.text(arg)) for arg in node.args)
