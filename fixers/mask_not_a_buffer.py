"""MHA110: register a buffer, or name the device of the tensor that it is used with."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.model.keys import Kind
from mha_lint.syntax.nodes import Function, every_parameter, receiver

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.operations.devices import Meeting
    from mha_lint.rules.base import Hit
    from mha_lint.rules.mask_not_a_buffer import Kept, Stray
    from mha_lint.syntax.exact import Exact


def fix(hit: Hit[Stray], context: Context) -> Fix | str:
    """One edit, in the constructor or at the call that makes the tensor."""
    stray = hit.evidence
    rows = {row for meeting in stray.meetings for row in context.places.rows(meeting.node)}
    flagged = tuple(sorted(rows))
    return _told(stray, flagged, context) if stray.kept is None else _registered(stray.kept, flagged, context)


def _registered(kept: Kept, flagged: tuple[int, ...], context: Context) -> Fix | str:
    places, name = context.places, kept.attribute
    assigned, init = kept.statement, places.function(kept.statement)
    assert init is not None
    target = assigned.target if isinstance(assigned, ast.AnnAssign) else assigned.targets[0]
    assert isinstance(target, ast.Attribute) and assigned.value is not None
    receiver = places.source(target.value)
    before = "".join(places.line(row) for row in range(places.start(init).row, places.start(assigned).row))
    if "__init__" not in before.partition(":")[2]:
        return "the constructor of the base class does not run before it, so that no buffer can be registered yet"
    if len(re.findall(rf"\b{receiver}\.{name}\s*(?::[^=\n]*)?=(?!=)", places.source(init))) > 1:
        return f"`{receiver}.{name}` is assigned more than once in the constructor"
    cls = context.model.names.class_of(places.class_(init))
    if cls is None or any(name in each.constants for each in cls.lineage):
        return f"the class has an attribute `{name}` of its own, which no buffer can replace"
    value = places.source(assigned.value)
    if "\n" in places.whole(assigned.value):
        value = places.whole(assigned.value)  # a comment may stand beside the parentheses
    edit = places.replace(assigned, f'{receiver}.register_buffer("{name}", {value}, persistent=False)')
    message = f"Register `{receiver}.{name}` as a buffer that is not part of the state_dict"
    return Fix("safe", "repaired", message, (edit,), flagged=flagged, expected="device")


def _told(stray: Stray, flagged: tuple[int, ...], context: Context) -> Fix | str:
    places = context.places
    function = places.function(stray.call)
    if function is None or not (stray.call.args or stray.call.keywords):
        return "no tensor is there whose device could be named"
    for meeting in stray.meetings:
        if meeting.function == function:
            name = _beside(meeting, stray.call, function, places)
            if name:
                edits = with_keyword(stray.call, "device", f"{name}.device", places)
                message = f"Make it on the device of `{name}`"
                return Fix("safe", "repaired", message, edits, flagged=flagged, expected="device")
    return "no tensor is known where it is made whose device could be named: let the caller hand the device in"


def _beside(meeting: Meeting, made: ast.Call, function: Function, places: Exact) -> str:
    """A tensor that has a name before the call: the one that it meets, or a parameter which that is computed from."""
    match meeting.node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=layer)) if owner == receiver(function):
            return f"{owner}.{layer}.weight"
    given = {parameter.arg for parameter in every_parameter(function)}
    row = places.start(made).row
    inputs = [key.names[-1] for key in sorted(meeting.inputs) if key.kind is Kind.NAME]
    for name in (*_operands(meeting.node), *inputs):
        if name in given or (name.isidentifier() and _is_assigned_before(name, row, function, places)):
            return name
    return ""


def _operands(node: ast.expr) -> list[str]:
    """The name that an operation is a method of, or its operands' names."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name[:1].islower() and name != "torch":
            return [name]
        case ast.Call(args=[ast.Name(id=name), *_]):
            return [name]
        case ast.Call(args=[], keywords=[ast.keyword(arg=str(), value=ast.Name(id=name)), *_]):
            return [name]
        case ast.BinOp(left=left, right=right):
            return [each.id for each in (left, right) if isinstance(each, ast.Name)]
        case ast.Name(id=name):
            return [name]
        case _:
            return []


def _is_assigned_before(name: str, row: int, function: Function, places: Exact) -> bool:
    """A statement of the function's own block, above that row, gives the name a value."""
    return any(
        isinstance(statement, ast.Assign) and places.end(statement).row < row and name in _targets(statement)
        for statement in function.body
    )


def _targets(assignment: ast.Assign) -> set[str]:
    names: set[str] = set()
    for target in assignment.targets:
        named = [target, *(target.elts if isinstance(target, ast.Tuple) else ())]
        names |= {each.id for each in named if isinstance(each, ast.Name)}
    return names
