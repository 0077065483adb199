"""Binding arguments to parameters, and what comes back from a call."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from msgspec.structs import replace

from mha_lint.model.keys import Key, bound
from mha_lint.model.run import Run
from mha_lint.model.values import NOTHING, Repeated, Self, Sequence, State, Tensor, Unknown, Value
from mha_lint.syntax import nodes


def retagged(value: Value, node: ast.expr) -> Value:
    """A value that comes back from a helper: for its caller, the call is what merged the heads."""
    match value:
        case Tensor(merge=merge) if merge is not None:
            return replace(value, merge=node)
        case Sequence(items):
            return Sequence(tuple(retagged(item, node) for item in items))
        case Repeated(item, count):
            return Repeated(retagged(item, node), count)
        case _:
            return value


def bind(
    interpreter: Run,
    node: nodes.Function | ast.Lambda,
    state: State,
    args: tuple[Value, ...],
    keywords: Mapping[str, Value],
    *,
    call: Key | None = None,
) -> None:
    """Bind arguments to parameters in ``state``; defaults where nothing is given, else unknown.

    An argument of which nothing is known, not even a name, is named by the ``call`` and by its parameter: it is one
    value wherever the function reads it.
    """
    if nodes.is_static(node) and args and isinstance(args[0], Self):
        args = args[1:]
    positional = nodes.parameters(node)
    defaults = nodes.defaults(node)
    for index, parameter in enumerate(nodes.every_parameter(node)):
        name = parameter.arg
        default = defaults.get(name)
        if index < len(args) and index < len(positional):
            value = args[index]
        elif name in keywords:
            value = keywords[name]
        elif default is not None and "**" not in keywords:
            value = interpreter.evaluate(default, State())
        else:
            value = Unknown(bound(interpreter.key(node), name))
        if value == NOTHING and call is not None:
            value = Unknown(bound(call, name))
        state.variables[name] = value
    if node.args.vararg is not None:
        state.variables[node.args.vararg.arg] = Sequence(args[len(positional) :])
    if node.args.kwarg is not None:
        state.variables[node.args.kwarg.arg] = NOTHING
