"""MHA110: register a buffer, or name the device of the tensor that it is used with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.rules.dropout_active_in_eval import class_of

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.model.torch_api.devices import Meeting
    from mha_lint.rules import Hit
    from mha_lint.rules.mask_not_a_buffer import Stray


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit, in the constructor or at the call that makes the tensor."""
    stray: Stray = hit.evidence
    rows = {row for meeting in stray.meetings for row in context.places.rows(meeting.node)}
    flagged = tuple(sorted(rows))
    return _registered(stray, flagged, context) if stray.attribute else _told(stray, flagged, context)


def _registered(stray: Stray, flagged: tuple[int, ...], context: Context) -> Fix | str:
    places, name = context.places, stray.attribute
    statement, init = places.statement(stray.call), places.function(stray.call)
    assert statement is not None and init is not None
    assigned = statement.body[0]
    assert isinstance(assigned, (cst.Assign, cst.AnnAssign))
    target = assigned.target if isinstance(assigned, cst.AnnAssign) else assigned.targets[0].target
    assert isinstance(target, cst.Attribute) and assigned.value is not None
    receiver = places.source(target.value)
    before = "".join(places.line(row) for row in range(places.start(init).row, places.start(statement).row))
    if "__init__" not in before.partition(":")[2]:
        return "the constructor of the base class does not run before it, so that no buffer can be registered yet"
    if len(re.findall(rf"\b{receiver}\.{name}\s*(?::[^=\n]*)?=(?!=)", places.source(init))) > 1:
        return f"`{receiver}.{name}` is assigned more than once in the constructor"
    owner = next((parent for parent in places.parents(init) if isinstance(parent, cst.ClassDef)), None)
    cls = class_of(owner, context.model) if owner is not None else None
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
    if function is None or not stray.call.args:
        return "no tensor is there whose device could be named"
    for meeting in stray.meetings:
        if meeting.function == function:
            name = _beside(meeting, stray.call, function, places)
            if name:
                edits = with_keyword(stray.call, "device", f"{name}.device", places)
                message = f"Make it on the device of `{name}`"
                return Fix("safe", "repaired", message, edits, flagged=flagged, expected="device")
    return "no tensor is known where it is made whose device could be named: let the caller hand the device in"


def _beside(meeting: Meeting, made: cst.Call, function: cst.FunctionDef, places: Places) -> str:
    """A tensor that has a name before the call: the one that it meets, or a parameter which that is computed from."""
    parameters = function.params
    given = {each.name.value for each in (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params)}
    row = places.start(made).row
    for name in (*_operands(meeting.node), *sorted(meeting.inputs)):
        if name in given or (name.isidentifier() and _is_assigned_before(name, row, function, places)):
            return name
    return ""


def _operands(node: cst.BaseExpression) -> list[str]:
    """The name that an operation is a method of, or its operands' names."""
    match node:
        case cst.Call(func=cst.Attribute(value=cst.Name(name))) if name[:1].islower() and name != "torch":
            found = [name]
        case cst.Call(args=[cst.Arg(value=cst.Name(name)), *_]):
            found = [name]
        case cst.BinaryOperation(left=left, right=right):
            found = [each.value for each in (left, right) if isinstance(each, cst.Name)]
        case cst.Name(name):
            found = [name]
        case _:
            found = []
    return found


def _is_assigned_before(name: str, row: int, function: cst.FunctionDef, places: Places) -> bool:
    """Whether a statement of the function's own block, above that row, gives the name a value."""
    return any(
        name in _targets(part)
        for statement in function.body.body
        if isinstance(statement, cst.SimpleStatementLine) and places.end(statement).row < row
        for part in statement.body
    )


def _targets(part: cst.CSTNode) -> set[str]:
    names: set[str] = set()
    for target in part.targets if isinstance(part, cst.Assign) else ():
        elements = target.target.elements if isinstance(target.target, cst.Tuple) else ()
        named = [target.target, *(element.value for element in elements)]
        names |= {each.value for each in named if isinstance(each, cst.Name)}
    return names
