"""The value of an expression: names, literals, attributes, comprehensions; and what evaluates each kind of node."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

from mha_lint.model import kernels, keys, operations, sequences, subscripts, tables
from mha_lint.model.factors import of_number
from mha_lint.model.interpreter import assignment, calls, keeping, operators, texts
from mha_lint.model.interpreter.deciding import decide
from mha_lint.model.interpreter.machine import Machine
from mha_lint.model.interpreter.numbers import NUMBERS
from mha_lint.model.operations import OPERATIONS
from mha_lint.model.run import Call, Run, normal
from mha_lint.model.tables import is_table
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
    Table,
    Tensor,
    Unknown,
    Value,
    as_tensor,
    integer,
    of_shape,
)
from mha_lint.syntax import nodes
from mha_lint.syntax.names import ClassInfo, Definition, ModuleNames

# --- names and literals ------------------------------------------------------------------------------------------


def _name(run: Run, node: ast.Name, state: State) -> Value:
    name = node.id
    value = state.variables.get(name)
    if value is None:
        found = _module_name(run, name)
        unbound = found == Qualified(f"builtins.{name}") and not hasattr(builtins, name)
        if unbound and state.variables:  # of the function that runs: other paths bind it, and this one raises
            return Unknown(keys.bound(run.key(run.function), name))
        return found
    return state.unless_none(value) if state.facts else value


def _module_name(run: Run, name: str) -> Value:
    names = run.names
    if name in names.classes:
        return ClassValue(names.classes[name])
    if name in names.functions:
        return Function(names.functions[name])
    if name in names.imports:
        found = names.definition(names.imports[name])
        if isinstance(found, str):
            return Qualified(kernels.full_name(found), name in names.rebound)
        return run.abroad(found)
    if name in names.rebound:
        return Unknown(keys.named(name))
    if name in names.constants:
        value = names.constants[name]
        if _is_evaluated(names, value):
            del names.constants[name]  # while it is evaluated: ``float = float`` is the builtin
            try:
                return run.evaluate(value, State())
            finally:
                names.constants[name] = value
        return Function(value) if isinstance(value, ast.Lambda) else Unknown(keys.named(name))
    starred = names.star(name)
    if starred is not None:
        return Qualified(starred) if isinstance(starred, str) else run.abroad(starred)
    return Qualified(f"builtins.{name}")


def abroad(run: Machine, found: Definition) -> Value:
    """Return the value of a name that another module of the project defines."""
    match found.value:
        case ClassInfo():
            return ClassValue(found.value)
        case ast.FunctionDef(name=name) if (kernel := kernels.of_project(found.home.path, name)) is not None:
            return Qualified(kernel)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return Function(found.value)
        case ast.expr() if _is_evaluated(found.home, found.value):
            return _in(run, found.home, found.value)
        case _:
            return NOTHING


def _is_evaluated(home: ModuleNames, value: ast.expr) -> bool:
    """A constant of a module is evaluated where it is a literal, or put together of such."""
    match value:
        case ast.Constant() | ast.Name() | ast.BinOp() | ast.UnaryOp() | ast.JoinedStr():
            return True
        case ast.Dict():
            return is_table(value)
        case ast.Tuple(elts=elements):
            return all(isinstance(element, ast.Constant) for element in elements)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()))):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in home.constants:
            return True
        case ast.Call(func=ast.Name(id=name)) if name not in home.imports:
            return f"builtins.{name}" in NUMBERS and name not in home.functions
        case ast.Call(func=function):
            return home.qualify(function) in NUMBERS
        case _:
            return False


def _in(run: Machine, home: ModuleNames, node: ast.expr) -> Value:
    """The value of an expression of another module; unknown where the module gives the name several."""
    if any(home.constants.get(name) is node for name in home.rebound):
        return NOTHING
    before, run.homes.names = run.homes.names, home
    try:
        return run.evaluate(node, State())
    finally:
        run.homes.names = before


def _constant(run: Run, node: ast.Constant, state: State) -> Value:
    return _literal(node.value)


@lru_cache(maxsize=4096, typed=True)  # 1, 1.0 and True are equal, and not the same
def _literal(literal: Hashable) -> Value:
    match literal:
        case None | bool() | str() as known:
            return Const(known)
        case int(number):
            return integer(number)
        case float(number):
            return Number(of_number(number))
        case value if value is Ellipsis:
            return Const(...)
        case _:
            return NOTHING


def _sequence(run: Run, node: ast.Tuple | ast.List, state: State) -> Value:
    items: list[Value] = []
    lead: list[Leading] = []
    for element in node.elts:
        if isinstance(element, ast.Constant):  # a table of numbers takes one step
            items.append(_literal(element.value))
            continue
        if not isinstance(element, ast.Starred):
            items.append(run.evaluate(element, state))
            continue
        value = run.evaluate(element.value, state)
        if isinstance(value, ShapeOf):
            value = operations.shape_of(normal(as_tensor(value.tensor) or Tensor(), state))
        value = operations.expanded(value, state)
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


def _attribute(run: Run, node: ast.Attribute, state: State) -> Value:
    return attribute_of(run, node, state, called=False)


def attribute_of(run: Run, node: ast.Attribute, state: State, *, called: bool) -> Value:
    name = node.attr
    head: ast.expr = node
    while isinstance(head, ast.Attribute):
        head = head.value
    if isinstance(head, ast.Name) and head.id in run.names.imports and head.id not in state.variables:
        return _imported(run, node)
    base = run.built(node.value, run.evaluate(node.value, state), state)
    return state.unless_none(attribute(run, base, name, node, state, called=called))


def _imported(run: Run, node: ast.Attribute) -> Value:
    """An attribute of a module that is imported: ``layers.Attention``."""
    full = run.names.qualify(node) or ""
    found = run.names.definition(full)
    return Qualified(found) if isinstance(found, str) else run.abroad(found)


def attribute(run: Run, base: Value, name: str, node: ast.Attribute, state: State, *, called: bool) -> Value:
    match base:
        case Self(cls) | Instance(cls):
            found = state.attributes.get(name) if isinstance(base, Self) else base.attribute(name)
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
                        value = keeping.perhaps(run, cls, name, _of_class(run, info, name))
                        if isinstance(value, (Int, Const, Number, Table)):
                            return value
                    break
            return Unknown(keys.of_self(name)) if isinstance(base, Self) else Unknown(run.key(node))
        case Super(cls):
            method = cls.parent.method(name) if cls.parent is not None else None
            return NOTHING if method is None else Function(method, Self(cls))
        case Qualified(full):
            return Qualified(f"{full}.{name}")
        case Layer(kind="Linear", width_in=width_in, width_out=width_out) if name in ("in_features", "out_features"):
            size = width_in if name == "in_features" else width_out
            return Unknown(run.key(node)) if size is None else Int(size)
        case Layer(kind="MultiheadAttention") if name == "num_heads" and (heads := sequences.heads(base)) is not None:
            return Int(heads)
        case Sequence() | Repeated() if name == "append":
            return Method(base, name)
        case Layer() if name in ("weight", "bias"):
            weight = None
            if base.kind == "Linear" and name == "weight" and base.width_in and base.width_out:
                weight = (base.width_out, base.width_in)
            return of_shape(weight, roles=frozenset({"parameter"}))
        case Unknown(handed=Instance(attributes=held)) if name in dict(held):
            return dict(held)[name]
        case Tensor() | Unknown():
            return _tensor_attribute(run, base, name, node, state, called=called)
        case ClassValue(cls) if (unbound := cls.method(name)) is not None:  # ``Base.attend(self, q, k, v)``
            plain = not unbound.decorator_list or nodes.is_static(unbound)
            return Function(unbound) if plain else Unknown(run.key(node))
        case Function() | ClassValue():
            return Unknown(run.key(node))
        case _:
            return Method(base, name)


def _of_class(run: Run, cls: ClassInfo, name: str) -> Value:
    """The value that the body of a class gives a name."""
    value = cls.constants[name]
    return run.evaluate(value, State()) if cls.home is run.names else run.abroad(Definition(cls.home, value))


def _tensor_attribute(
    run: Run, base: Tensor | Unknown, name: str, node: ast.Attribute, state: State, *, called: bool
) -> Value:
    """An attribute of a tensor, or of something unknown that may be one.

    Settings have attributes that are called as tensors' methods are: ``config.dropout`` is one only where it is called.
    What a constructor is given has no transposes either: ``config.T`` and ``config.H`` are numbers.
    """
    given = isinstance(base, Unknown)
    if given and run.constructing and not called and name != "shape":
        return Unknown(None if base.key is None else keys.attribute(base.key, name))
    tensor = as_tensor(base)
    assert tensor is not None
    tensor = normal(tensor, state)
    if name == "shape":
        return operations.shape_of(tensor)
    if name in operations.ATTRIBUTES and not (given and name == "real"):
        return OPERATIONS[name](Call(run, state, node, (tensor,), {}))
    if not given or (called and (name in OPERATIONS or name == "update" or name.endswith("_"))):
        return Method(base, name)
    return Unknown(None if base.key is None else keys.attribute(base.key, name))


# --- expressions with a life of their own -----------------------------------------------------------------------


def _conditional(run: Run, node: ast.IfExp, state: State) -> Value:
    return run.evaluate(node.body if decide(run, node.test, state) else node.orelse, state)


def _lambda(run: Run, node: ast.Lambda, state: State) -> Value:
    return run.nested(node, tuple(state.variables.items()))


def _walrus(run: Run, node: ast.NamedExpr, state: State) -> Value:
    value = run.evaluate(node.value, state)
    assignment.assign(run, node.target, value, state)
    return value


def _comprehension(run: Run, node: ast.ListComp | ast.GeneratorExp, state: State) -> Value:
    loop = node.generators[0]
    iterable = run.evaluate(loop.iter, state)
    if isinstance(iterable, Tensor):
        iterable = assignment.unpacked(run, iterable, None, loop.iter, state)
    inner = state.copy()
    nested = len(node.generators) > 1
    simple = not loop.ifs and not nested
    if isinstance(iterable, Sequence) and simple:
        items = []
        for item in iterable.items:
            assignment.assign(run, loop.target, item, inner)
            items.append(run.evaluate(node.elt, inner))
        state.definitions = inner.definitions
        return Sequence(tuple(items))
    assignment.assign(run, loop.target, assignment.element(iterable), inner)
    if nested:
        return Repeated(NOTHING)
    value = run.evaluate(node.elt, inner)
    state.definitions = inner.definitions
    return Repeated(value, iterable.count if isinstance(iterable, Repeated) and simple else None)


EVALUATORS: Mapping[type[ast.AST], Callable[[Run, Any, State], Value]] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.JoinedStr: texts.formatted,
    ast.Tuple: _sequence,
    ast.List: _sequence,
    ast.Attribute: _attribute,
    ast.Call: calls.call,
    ast.BinOp: operators.binary_operation,
    ast.UnaryOp: operators.unary_operation,
    ast.BoolOp: operators.boolean_operation,
    ast.Compare: operators.comparison,
    ast.IfExp: _conditional,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Subscript: subscripts.subscript,
    ast.Dict: tables.table,
}
