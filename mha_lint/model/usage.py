"""Which assignments of a local variable reach a statement, and whether its value is read after one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import libcst as cst

from mha_lint.model.places import Places, children

Outcome = Literal["read", "killed", "through"]


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and everything below it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending += children(current)


def mentions(node: cst.CSTNode, name: str) -> bool:
    return any(isinstance(child, cst.Name) and child.value == name for child in walk(node))


def reaching(statement: cst.CSTNode, name: str, places: Places) -> list[cst.Assign]:
    """The plain assignments ``name = …`` whose value may stand in ``name`` at ``statement``, with no read between.

    Empty where that is not certain: a parameter, a loop, an assignment of another form.
    """
    block = places.block(statement)
    index = next((index for index, other in enumerate(block) if other is statement), 0)
    found = _last_assignments(block[:index], name)
    return [] if found is None else found


def _last_assignments(block: Sequence[cst.CSTNode], name: str) -> list[cst.Assign] | None:
    for index in range(len(block) - 1, -1, -1):
        statement = block[index]
        if not mentions(statement, name):
            continue
        match statement:
            case cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(target))]) as assign]
            ):
                return [assign] if target == name else None
            case cst.If():
                return _through_branches(statement, block[:index], name)
            case _:
                return None
    return None


def _through_branches(statement: cst.If, before: Sequence[cst.CSTNode], name: str) -> list[cst.Assign] | None:
    if mentions(statement.test, name):
        return None
    found: list[cst.Assign] = []
    for branch in _branches(statement):
        if not any(mentions(inner, name) for inner in branch):
            assignments = _last_assignments(before, name)
        else:
            assignments = _last_assignments(branch, name)
        if assignments is None:
            return None
        found += [assign for assign in assignments if assign not in found]
    return found


def _branches(statement: cst.If) -> list[Sequence[cst.CSTNode]]:
    """The blocks of an ``if``, one of them empty where there is no ``else``."""
    branches = [_body(statement)]
    orelse = statement.orelse
    if isinstance(orelse, cst.If):
        return [*branches, [orelse]]
    return [*branches, [] if orelse is None else _body(orelse)]


def _body(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    suite = getattr(node, "body", None)
    body = getattr(suite, "body", ())
    return tuple(body)


def read_later(statement: cst.CSTNode, name: str, places: Places) -> bool:
    """Whether the value that ``name`` has at ``statement`` may be read after it."""
    current = statement
    while True:
        block = places.block(current)
        index = next((index for index, other in enumerate(block) if other is current), None)
        if index is not None:
            outcome = _outcome(block[index + 1 :], name)
            if outcome != "through":
                return outcome == "read"
        parent = next(places.parents(current))
        if isinstance(parent, (cst.For, cst.While)) and _outcome(_body(parent), name) == "read":
            return True
        if isinstance(parent, cst.FunctionDef):
            return False
        if isinstance(parent, (cst.Module, cst.ClassDef)):
            return True  # a name that others can see
        current = parent


def _outcome(block: Sequence[cst.CSTNode], name: str) -> Outcome:
    """What a block does first with the variable."""
    for statement in block:
        if not mentions(statement, name):
            continue
        match statement:
            case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=target)], value=value)]):
                if mentions(value, name) or not _binds(target, name):
                    return "read"
                return "killed"
            case cst.If(test=test):
                if mentions(test, name):
                    return "read"
                outcomes = [_outcome(branch, name) for branch in _branches(statement)]
                if "read" in outcomes:
                    return "read"
                if all(outcome == "killed" for outcome in outcomes):
                    return "killed"
            case _:
                return "read"
    return "through"


def _binds(target: cst.BaseExpression, name: str) -> bool:
    match target:
        case cst.Name(value):
            return value == name
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            return any(_binds(element.value, name) for element in elements)
        case _:
            return False
