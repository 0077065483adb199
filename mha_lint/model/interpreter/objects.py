"""Objects of classes of the file, and what is called: functions, classes, layers, methods."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model import layers, operations
from mha_lint.model.fuel import MAX_DEPTH
from mha_lint.model.interpreter import calls
from mha_lint.model.interpreter.functions import bind_at_home, outcomes_of
from mha_lint.model.interpreter.keeping import kept
from mha_lint.model.interpreter.machine import Machine
from mha_lint.model.keys import of_self
from mha_lint.model.run import Call
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Building,
    ClassValue,
    Function,
    Instance,
    Layer,
    Method,
    Partial,
    Qualified,
    Self,
    State,
    Tensor,
    Unknown,
    Value,
)
from mha_lint.syntax.names import ClassInfo

_REGISTER_BUFFER = of_self("register_buffer")
_ATTENTION = of_self("scaled_dot_product_attention")  # torch's own, which a base class that is not known keeps


def _construct(run: Machine, cls: ClassInfo, call: Call) -> Value:
    """An object of a class of this file; its ``__init__`` is run when somebody asks for what it made."""
    init = cls.method("__init__")
    outside = next((base for info in cls.lineage for base in info.bases if base.startswith("torch.nn.")), "")
    if outside not in ("", "torch.nn.Module") and cls.method("forward") is None:
        assert isinstance(call.node, ast.Call)
        return layers.build(outside.removeprefix("torch.nn."), call.node, call.args, call.keywords, call.state)
    if init is None:
        return Instance(cls)
    known = dict(call.state.definitions), dict(call.state.ranks)
    return Instance(cls, building=Building(call.node, call.args, tuple(call.keywords.items()), *known))


def built(run: Machine, node: ast.expr, value: Value, state: State) -> Value:
    """The same; if it is an object that is yet to be built, one built on one of the ways through ``__init__``.

    What ``node``, a name or an attribute, holds is built from now on.
    """
    if not isinstance(value, Instance) or value.building is None:
        return value
    made = replace(_built(run, value.cls, value.building, state), optional=value.optional)
    match node:
        case ast.Name(id=name) if state.variables.get(name) is value:
            state.variables[name] = made
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if isinstance(state.variables.get(owner), Self):
            if state.attributes.get(name) is value:
                state.attributes[name] = made
    return made


def _built(run: Machine, cls: ClassInfo, building: Building, state: State) -> Instance:
    init = cls.method("__init__")
    if init is None or run.stack.runs(init) or len(run.stack.frames) >= MAX_DEPTH:
        return Instance(cls)
    inner = State(definitions=dict(building.definitions), ranks=dict(building.ranks))
    bind_at_home(run, init, inner, (Self(cls), *building.args), dict(building.keywords), building.node)
    named = run.defined_in.get(init) or run.homes.symbol(init) or cls.name
    outcomes = outcomes_of(run, init, inner, named, building.node, run.meter.most)
    if not outcomes:
        return Instance(cls)
    after, _ = outcomes[run.choose(len(outcomes))]
    state.joined = state.joined or after.joined
    state.learn({n: size for n, size in after.definitions.items() if n not in building.definitions})
    for key, rank in after.ranks.items():
        state.ranks.setdefault(key, rank)
    return Instance(cls, tuple(kept(run, cls, after.attributes).items()))


def apply(run: Machine, function: Value, call: Call) -> Value:
    """The value of calling ``function`` with the call's arguments."""
    run.meter.step()
    value = _applied(run, function, call)
    blank = isinstance(value, Unknown) or (isinstance(value, Tensor) and value.blank)
    if blank and call.keywords and isinstance(function, (Qualified, Unknown, Method)):
        operations.fused(call)
    if isinstance(value, Unknown) and isinstance(function, (Qualified, Unknown, Method, Function)):
        value = layers.wrapped(call, value)
    return layers.told_by_name(call, value) if blank else value


def _applied(run: Machine, function: Value, call: Call) -> Value:
    match function:
        case Layer():
            return operations.possible(lambda each: layers.apply(run, function, each))(call)
        case Instance(building=Building() as building):
            return _applied(run, _built(run, function.cls, building, call.state), call)
        case Instance(cls) | Self(cls):
            run.saw_call(call.node, cls)
            forward = cls.method("forward") or cls.method("__call__")
            return NOTHING if forward is None else run.call_function(Function(forward, function), call)
        case Function():
            return run.call_function(function, call)
        case ClassValue(cls):
            return _construct(run, cls, call)
        case Partial(whole, args, keywords):
            filled = replace(call, args=(*args, *call.args), keywords={**dict(keywords), **call.keywords})
            return _applied(run, whole, filled)
        case Method(receiver, name):
            return calls.call_method(run, receiver, name, call)
        case Qualified(name):
            return calls.call_qualified(run, name, call)
        case Unknown(key) if key is _REGISTER_BUFFER:
            calls.register_buffer(call)
            return NONE
        case Unknown(key) if key is _ATTENTION and calls.is_like_torch(call):
            return operations.OPERATIONS["scaled_dot_product_attention"](call)
        case _:
            return Unknown(run.key(call.node))
