"""The values of its constructor that an object still keeps when one of its methods is called."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mha_lint.model.keys import of_self
from mha_lint.model.run import Run
from mha_lint.model.values import Const, Instance, Int, Layer, Number, Sequence, State, Unknown, Value

if TYPE_CHECKING:
    from mha_lint.syntax.names import ClassInfo


def kept(run: Run, cls: ClassInfo, attributes: Mapping[str, Value]) -> dict[str, Value]:
    """The attributes at the start of a method: what other code of the file sets may have been set by then."""
    return {name: perhaps(run, cls, name, value) for name, value in attributes.items()}


def perhaps(run: Run, cls: ClassInfo, name: str, value: Value) -> Value:
    """The value of one attribute, as far as it is the same whatever other code has run.

    A constant that other code replaces by another one is unknown; a module that it may replace by None is optional.
    Whatever else replaces a module, or a size, is taken to be like it.
    """
    others = run.names.changes_of(cls, name)
    if not others:
        return value
    match value:
        case Const() | Sequence():
            settled = all(_same(run, other, value) for other in others)
            return value if settled else Unknown(of_self(name))
        case Int(size) if size.constant is not None:
            settled = all(_same(run, other, value) for other in others)
            return value if settled else Unknown(of_self(name))
        case Number(factor) if factor is not None and factor.constant is not None:
            settled = all(_same(run, other, value) for other in others)
            return value if settled else Unknown(of_self(name))
        case Layer() | Instance() if any(_may_be_none(other) for other in others):
            return replace(value, optional=True)
        case _:
            return value


def _same(run: Run, other: ast.expr | None, value: Value) -> bool:
    """Return True where an expression that is assigned elsewhere is a literal of the same value."""
    return isinstance(other, (ast.Constant, ast.UnaryOp)) and run.evaluate(other, State()) == value


def _may_be_none(other: ast.expr | None) -> bool:
    """Return True for what is no call of a constructor, nor a choice of some."""
    match other:
        case ast.Call():
            return False
        case ast.IfExp(body=body, orelse=orelse):
            return _may_be_none(body) or _may_be_none(orelse)
        case _:
            return True
