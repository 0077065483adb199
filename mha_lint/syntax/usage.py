"""Which assignments of a local variable reach a statement, and whether its value is read after one."""

from __future__ import annotations

import ast
from typing import Literal

from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block, walk
from mha_lint.syntax.places import Places

Outcome = Literal["read", "killed", "through"]


def mentions(node: ast.AST, name: str) -> bool:
    """A piece of code reads a name, or binds it in any way."""
    return any(name in named(child) for child in walk(node))


def named(node: ast.AST) -> tuple[object, ...]:
    """The names that a node itself reads or binds, among what is no name."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return tuple(names)
        case ast.alias(name=name, asname=bound):
            return (bound or name.partition(".")[0],)
        case _:
            return (getattr(node, "name", None), getattr(node, "rest", None))  # functions, handlers, patterns


def stored(*nodes: ast.AST) -> set[str]:
    """The variables that pieces of code assign, in whatever form."""
    return {node.id for node in walk(*nodes) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def reaching(statement: ast.stmt, name: str, places: Places) -> list[ast.Assign]:
    """The plain assignments ``name = …`` whose value may stand in ``name`` at ``statement``, with no read between.

    Empty where that is not certain: a parameter, a loop, an assignment of another form.
    """
    block = places.block(statement)
    index = next((index for index, other in enumerate(block) if other is statement), 0)
    found = _last_assignments(block[:index], name)
    return [] if found is None else found


def _last_assignments(block: Block, name: str) -> list[ast.Assign] | None:
    for index in range(len(block) - 1, -1, -1):
        statement = block[index]
        if not mentions(statement, name):
            continue
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)]):
                return [statement] if target == name else None
            case ast.If():
                return _through_branches(statement, block[:index], name)
            case _:
                return None
    return None


def _through_branches(statement: ast.If, before: Block, name: str) -> list[ast.Assign] | None:
    if mentions(statement.test, name):
        return None
    found: list[ast.Assign] = []
    for branch in (statement.body, statement.orelse):
        if not any(mentions(inner, name) for inner in branch):
            assignments = _last_assignments(before, name)
        else:
            assignments = _last_assignments(branch, name)
        if assignments is None:
            return None
        found += [assign for assign in assignments if assign not in found]
    return found


def read_later(statement: ast.stmt, name: str, places: Places) -> bool:
    """The value that ``name`` has at ``statement`` may be read after it."""
    current: ast.AST = statement
    while True:
        block = places.block(current)
        index = next((index for index, other in enumerate(block) if other is current), None)
        if index is not None:
            outcome = _outcome(block[index + 1 :], name)
            if outcome != "through":
                return outcome == "read"
        parent = places.parent(current)
        if isinstance(parent, ast.While) and mentions(parent.test, name):
            return True
        if any(_outcome(other, name) == "read" for other in _runs_after(current, parent)):
            return True
        if isinstance(parent, FUNCTIONS):
            return False
        if isinstance(parent, (ast.Module, ast.ClassDef)):
            return True  # a name that others can see
        current = parent


def _runs_after(part: ast.AST, parent: ast.AST) -> list[Block]:
    """The blocks of ``parent`` that may run once ``part``, which stands in it, has run: its own again in a loop."""
    match parent:
        case ast.For() | ast.AsyncFor() | ast.While():
            return [parent.body, parent.orelse]
        case _ if not isinstance(parent, TRIES) or part in parent.finalbody:
            return []
        case _ if part in parent.body:
            return [*(handler.body for handler in parent.handlers), parent.orelse, parent.finalbody]
        case _:
            return [parent.finalbody]


def _outcome(block: Block, name: str) -> Outcome:
    """Return what a block does first with the variable: read it, overwrite it, or neither."""
    for statement in block:
        if not mentions(statement, name):
            continue
        match statement:
            case ast.Assign(targets=[target], value=value):
                if mentions(value, name) or not _binds(target, name):
                    return "read"
                return "killed"
            case ast.If(test=test):
                if mentions(test, name):
                    return "read"
                outcomes = [_outcome(branch, name) for branch in (statement.body, statement.orelse)]
                if "read" in outcomes:
                    return "read"
                if all(outcome == "killed" for outcome in outcomes):
                    return "killed"
            case _:
                return "read"
    return "through"


def _binds(target: ast.expr, name: str) -> bool:
    match target:
        case ast.Name(id=value):
            return value == name
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return any(_binds(element, name) for element in elements)
        case _:
            return False
