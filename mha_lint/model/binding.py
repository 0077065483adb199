"""Binding arguments to parameters, what comes back from a call, and which names a piece of code assigns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.model.values import NOTHING, Repeated, Self, Sequence, State, Tensor, Unknown, Value

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter


def retagged(value: Value, node: cst.BaseExpression) -> Value:
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
    interpreter: Interpreter,
    node: cst.FunctionDef | cst.Lambda,
    state: State,
    args: tuple[Value, ...],
    keywords: Mapping[str, Value],
) -> None:
    """Bind arguments to parameters in ``state``; defaults where nothing is given, else unknown."""
    parameters = node.params
    static = isinstance(node, cst.FunctionDef) and any(
        isinstance(d.decorator, cst.Name) and d.decorator.value == "staticmethod" for d in node.decorators
    )
    if static and args and isinstance(args[0], Self):
        args = args[1:]
    positional = [*parameters.posonly_params, *parameters.params]
    for index, parameter in enumerate([*positional, *parameters.kwonly_params]):
        name = parameter.name.value
        if index < len(args) and index < len(positional):
            value = args[index]
        elif name in keywords:
            value = keywords[name]
        elif parameter.default is not None and "**" not in keywords:
            value = interpreter.evaluate(parameter.default, State())
        else:
            value = Unknown(f"{interpreter.key(node)}{name}")
        state.variables[name] = value
    if isinstance(parameters.star_arg, cst.Param):
        state.variables[parameters.star_arg.name.value] = Sequence(args[len(positional) :])
    if parameters.star_kwarg is not None:
        state.variables[parameters.star_kwarg.name.value] = NOTHING


class Assigned(cst.CSTVisitor):
    """Names, and attributes of self, that a piece of code assigns."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def _target(self, node: cst.BaseExpression) -> None:
        match node:
            case cst.Name(name):
                self.names.add(name)
            case cst.Attribute(value=cst.Name("self"), attr=cst.Name(name)):
                self.names.add(f"self.{name}")
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                for element in elements:
                    self._target(element.value)

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self._target(node.target)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        self._target(node.target)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self._target(node.target)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._target(node.target)

    def visit_For(self, node: cst.For) -> None:
        self._target(node.target)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        self.names.add(node.name.value)
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False
