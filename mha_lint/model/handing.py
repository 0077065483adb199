"""Follow a value of another module back to the argument of this one that handed it over.

An operation of another module is wrong for what it is given there, and the code at fault is the call of this module
that gave it. Only such values are followed: what the other module has made itself is told where that module is linted.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mha_lint.model.values import Self, Value
from mha_lint.syntax.nodes import FUNCTIONS, argument, is_starred, last_name, parameters, walk

if TYPE_CHECKING:
    from mha_lint.model.events import OperationSeen, Step

Accepts = Callable[[Value], bool]


def handed_over(
    seen: OperationSeen, written: ast.expr | None, accepts: Accepts, *, plain: bool = False
) -> ast.expr | None:
    """Return the argument that this module wrote for what another one calls ``written``; None where it wrote none.

    On the way the value is that of a parameter which ``written`` is computed from, and which ``accepts`` holds for.
    With ``plain`` nothing is computed of it: a number or a flag is told by its name alone.
    """
    for step in seen.led:
        if written is None:
            return None
        names = _read(step.function, written, plain=plain)
        name = next((name for name in names if name in step.given and accepts(step.given[name])), None)
        written = None if name is None else _argument(step, name)
    return written


def _read(function: ast.AST, written: ast.expr, *, plain: bool) -> list[str]:
    """The names that an expression is computed from, the nearest first, through the assignments of its function."""
    if plain:
        return [written.id] if isinstance(written, ast.Name) else []
    found = list(dict.fromkeys(_names(written)))
    assigned = list(_assignments(function))
    for name in found:  # it grows on the way
        for target, value in assigned:
            if name in _names(target):
                found += [other for other in _names(value) if other not in found]
    return found


def _names(node: ast.AST) -> list[str]:
    return [each.id for each in walk(node) if isinstance(each, ast.Name)]


def _assignments(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in walk(function):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield target, value
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                yield target, value
            case ast.AugAssign(target=target, value=value):
                yield target, value


def _argument(step: Step, name: str) -> ast.expr | None:
    """What the call writes for a parameter; None behind a star, and where the parameter has its default."""
    call, function = step.call, step.function
    if not isinstance(call, ast.Call) or is_starred(call) or not isinstance(function, (*FUNCTIONS, ast.Lambda)):
        return None
    positional = [parameter.arg for parameter in parameters(function)]
    is_method = bool(positional) and isinstance(step.given.get(positional[0]), Self)
    if is_method and not (call.args and last_name(call.args[0]) == "self"):  # else it hands itself over
        positional = positional[1:]
    index = positional.index(name) if name in positional else len(call.args)
    return argument(call, index, name)
