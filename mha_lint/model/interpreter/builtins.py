"""Builtins, and functions of the standard library and of torch that are no operations on tensors."""

from __future__ import annotations

import ast
from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model import operations
from mha_lint.model.interpreter import assignment
from mha_lint.model.interpreter.numbers import NUMBERS
from mha_lint.model.keys import Key, attribute
from mha_lint.model.run import Call, Run
from mha_lint.model.sizes import Size
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Int,
    Qualified,
    Repeated,
    Self,
    Sequence,
    Tensor,
    Unknown,
    Value,
    as_size,
    integer,
)


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


def _size_class(run: Run, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


def _getattr(run: Run, call: Call) -> Value:
    kept = _attribute_named(call)
    match call.args:
        case (Self(), *_) if kept in call.state.attributes:
            return call.state.attributes[kept]
        case (Unknown(Key() as key), Const(str(name)), *_):
            return Unknown(attribute(key, name))
        case (Qualified(full), Const(str(name)), *_):
            return Qualified(f"{full}.{name}")
        case _:
            return Unknown(run.key(call.node))


def _setattr(run: Run, call: Call) -> Value:
    name = _attribute_named(call)
    if name and len(call.args) == 3 and isinstance(call.args[0], Self):
        call.state.attributes[name] = call.args[2]
    return NONE


def _attribute_named(call: Call) -> str:
    """The attribute of the object that a call names; "" where that is not known.

    A name of which parts are known, such as ``f"{kind}_mask"``, stands for one attribute of each kind: ``{}_mask``.
    """
    match call.args:
        case (Self(), Const(str(name)), *_):
            return name
    written = call.node.args[1] if isinstance(call.node, ast.Call) and len(call.node.args) > 1 else None
    if not isinstance(written, ast.JoinedStr):
        return ""
    parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in written.values]
    told = any(isinstance(part, ast.Constant) for part in written.values)
    return "".join(map(str, parts)) if told else ""


def _deepcopy(run: Run, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


BUILTINS: dict[str, Callable[[Run, Call], Value]] = {
    **NUMBERS,
    "builtins.map": _map,
    "builtins.zip": _zip,
    "builtins.range": _range,
    "builtins.enumerate": _enumerate,
    "builtins.len": _len,
    "builtins.tuple": _first,
    "builtins.list": _first,
    "builtins.getattr": _getattr,
    "builtins.setattr": _setattr,
    "torch.Size": _size_class,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
}
