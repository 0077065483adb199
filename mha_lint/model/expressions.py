"""The value of an expression: names, literals, attributes, comprehensions; and what evaluates each kind of node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import libcst as cst

from mha_lint import parsing
from mha_lint.model import assignment, calls, keeping, operators, subscripts, torch_api
from mha_lint.model.factors import of_number
from mha_lint.model.torch_api import OPERATIONS, Call
from mha_lint.model.values import (
    NOTHING,
    ClassValue,
    Const,
    Function,
    Instance,
    Int,
    Layer,
    Leading,
    Method,
    Number,
    Qualified,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    State,
    Super,
    Tensor,
    Unknown,
    Value,
    as_tensor,
    integer,
    of_shape,
)

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter

# --- names and literals ------------------------------------------------------------------------------------------


def _name(run: Interpreter, node: cst.Name, state: State) -> Value:
    name = node.value
    if name in state.variables:
        return state.unless_none(state.variables[name])
    if name in ("None", "True", "False"):
        return Const({"None": None, "True": True, "False": False}[name])
    return _module_name(run, name)


def _module_name(run: Interpreter, name: str) -> Value:
    names = run.names
    if name in names.classes:
        return ClassValue(names.classes[name])
    if name in names.functions:
        return Function(names.functions[name])
    if name in names.imports:
        return Qualified(names.imports[name], name in names.changes.rebound)
    if name in names.changes.rebound:
        return Unknown(name)
    if name in names.constants:
        value = names.constants[name]
        if isinstance(
            value, (cst.Integer, cst.Float, cst.SimpleString, cst.Name, cst.BinaryOperation, cst.UnaryOperation)
        ):
            del names.constants[name]  # while it is evaluated: ``float = float`` is the builtin
            try:
                return run.evaluate(value, State())
            finally:
                names.constants[name] = value
        return Function(value) if isinstance(value, cst.Lambda) else Unknown(name)
    return Qualified(f"builtins.{name}")


_literal = lru_cache(maxsize=4096)(parsing.literal)


def _integer(run: Interpreter, node: cst.Integer, state: State) -> Value:
    return integer(_literal(node.value))


def _float(run: Interpreter, node: cst.Float, state: State) -> Value:
    return Number(of_number(_literal(node.value)))


def _string(run: Interpreter, node: cst.SimpleString | cst.ConcatenatedString, state: State) -> Value:
    if isinstance(node, cst.SimpleString):
        value = _literal(node.value)
    else:
        with parsing.silently():
            value = node.evaluated_value
    return Const(value) if isinstance(value, str) else NOTHING


def _ellipsis(run: Interpreter, node: cst.Ellipsis, state: State) -> Value:
    return Const(...)


def _sequence(run: Interpreter, node: cst.Tuple | cst.List, state: State) -> Value:
    items: list[Value] = []
    lead: list[Leading] = []
    for element in node.elements:
        value = run.evaluate(element.value, state)
        if not isinstance(element, cst.StarredElement):
            items.append(value)
        elif isinstance(value, ShapeOf):
            value = torch_api.shape_of(torch_api.normal(as_tensor(value.tensor) or Tensor(), state))
        value = torch_api.expanded(value, state)
        if not isinstance(element, cst.StarredElement):
            continue
        if isinstance(value, Sequence):
            items += value.items
        elif isinstance(value, Leading) and not items and not lead:
            lead.append(value)
            items += value.items
        else:
            return NOTHING
    if lead:
        return Leading(lead[0].key, tuple(items))
    return Sequence(tuple(items))


# --- attributes --------------------------------------------------------------------------------------------------


def _attribute(run: Interpreter, node: cst.Attribute, state: State) -> Value:
    return attribute_of(run, node, state, called=False)


def attribute_of(run: Interpreter, node: cst.Attribute, state: State, *, called: bool) -> Value:
    name = node.attr.value
    qualified = run.names.qualify(node)
    if qualified is not None and not _shadowed(node, state):
        return Qualified(qualified)
    base = run.evaluate(node.value, state)
    return state.unless_none(attribute(run, base, name, node, state, called=called))


def _shadowed(node: cst.Attribute, state: State) -> bool:
    head: cst.BaseExpression = node
    while isinstance(head, cst.Attribute):
        head = head.value
    return isinstance(head, cst.Name) and head.value in state.variables


def attribute(run: Interpreter, base: Value, name: str, node: cst.Attribute, state: State, *, called: bool) -> Value:
    match base:
        case Self(cls) | Instance(cls):
            found = state.attributes.get(name) if isinstance(base, Self) else dict(base.attributes).get(name)
            if found is not None and not cls.is_property(name):
                return found
            method = cls.method(name)
            if method is not None:
                bound = Function(method, base)
                if cls.is_property(name):
                    return run.call_function(bound, Call(run, state, node, (), {}))
                return bound
            for info in cls.lineage:
                if name in info.constants:
                    if name not in info.rebound | info.fields:
                        value = keeping.perhaps(run, cls, name, run.evaluate(info.constants[name], State()))
                        if isinstance(value, (Int, Const, Number)):
                            return value
                    break
            return Unknown(f"self.{name}") if isinstance(base, Self) else Unknown(run.key(node))
        case Super(cls):
            method = cls.parent.method(name) if cls.parent is not None else None
            return NOTHING if method is None else Function(method, Self(cls))
        case Qualified(full):
            return Qualified(f"{full}.{name}")
        case Layer(kind="Linear", width_in=width_in, width_out=width_out) if name in ("in_features", "out_features"):
            size = width_in if name == "in_features" else width_out
            return Unknown(run.key(node)) if size is None else Int(size)
        case Sequence() | Repeated() if name == "append":
            return Method(base, name)
        case Layer() if name in ("weight", "bias"):
            weight = None
            if base.kind == "Linear" and name == "weight" and base.width_in and base.width_out:
                weight = (base.width_out, base.width_in)
            return of_shape(weight, roles=frozenset({"parameter"}))
        case Tensor() | Unknown():
            return _tensor_attribute(run, base, name, node, state, called=called)
        case Function() | ClassValue():
            return Unknown(run.key(node))
        case _:
            return Method(base, name)


def _tensor_attribute(
    run: Interpreter, base: Tensor | Unknown, name: str, node: cst.Attribute, state: State, *, called: bool
) -> Value:
    """An attribute of a tensor, or of something unknown that may be one.

    Settings have attributes that are called as tensors' methods are: ``config.dropout`` is one only where it is called.
    What a constructor is given has no transposes either: ``config.T`` and ``config.H`` are numbers.
    """
    given = isinstance(base, Unknown)
    if given and run.constructing and not called and name != "shape":
        return Unknown(f"{base.key}.{name}" if base.key is not None else None)
    tensor = as_tensor(base)
    assert tensor is not None
    tensor = torch_api.normal(tensor, state)
    if name == "shape":
        return torch_api.shape_of(tensor)
    if name in ("T", "mT", "H", "mH", "data", "real", "ndim") and not (given and name == "real"):
        table = {"H": "T", "mH": "mT"}
        return OPERATIONS[table.get(name, name)](Call(run, state, node, (tensor,), {}))
    if not given or (called and (name in OPERATIONS or name == "update" or name.endswith("_"))):
        return Method(base, name)
    return Unknown(f"{base.key}.{name}" if base.key is not None else None)


# --- expressions with a life of their own -----------------------------------------------------------------------


def _conditional(run: Interpreter, node: cst.IfExp, state: State) -> Value:
    return run.evaluate(node.body if operators.decide(run, node.test, state) else node.orelse, state)


def _lambda(run: Interpreter, node: cst.Lambda, state: State) -> Value:
    return run.nested(node, tuple(state.variables.items()))


def _walrus(run: Interpreter, node: cst.NamedExpr, state: State) -> Value:
    value = run.evaluate(node.value, state)
    assignment.assign(run, node.target, value, state)
    return value


def _comprehension(run: Interpreter, node: cst.ListComp | cst.GeneratorExp, state: State) -> Value:
    loop = node.for_in
    iterable = run.evaluate(loop.iter, state)
    if isinstance(iterable, Tensor):
        iterable = assignment.unpacked(run, iterable, None, loop.iter, state)
    inner = state.copy()
    simple = not loop.ifs and loop.inner_for_in is None
    if isinstance(iterable, Sequence) and simple:
        items = []
        for item in iterable.items:
            assignment.assign(run, loop.target, item, inner)
            items.append(run.evaluate(node.elt, inner))
        state.definitions = inner.definitions
        return Sequence(tuple(items))
    assignment.assign(run, loop.target, assignment.element(iterable), inner)
    if loop.inner_for_in is not None:
        return Repeated(NOTHING)
    value = run.evaluate(node.elt, inner)
    state.definitions = inner.definitions
    return Repeated(value, iterable.count if isinstance(iterable, Repeated) and simple else None)


def _formatted(run: Interpreter, node: cst.FormattedString, state: State) -> Value:
    return Unknown(run.key(node))


EVALUATORS: Mapping[type[cst.CSTNode], Callable[[Interpreter, Any, State], Value]] = {
    cst.Name: _name,
    cst.Integer: _integer,
    cst.Float: _float,
    cst.SimpleString: _string,
    cst.ConcatenatedString: _string,
    cst.Ellipsis: _ellipsis,
    cst.Tuple: _sequence,
    cst.List: _sequence,
    cst.Attribute: _attribute,
    cst.Call: calls.call,
    cst.BinaryOperation: operators.binary_operation,
    cst.UnaryOperation: operators.unary_operation,
    cst.BooleanOperation: operators.boolean_operation,
    cst.Comparison: operators.comparison,
    cst.IfExp: _conditional,
    cst.Lambda: _lambda,
    cst.NamedExpr: _walrus,
    cst.ListComp: _comprehension,
    cst.GeneratorExp: _comprehension,
    cst.FormattedString: _formatted,
    cst.Subscript: subscripts.subscript,
}
