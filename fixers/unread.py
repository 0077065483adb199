"""Statements that served a replaced expression alone go with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from mha_lint.findings import Edit
from mha_lint.syntax.nodes import Function, dotted, walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.syntax.exact import Exact
    from mha_lint.syntax.names import ClassInfo

_PURE = ("sqrt", "size", "float", "int", "len", "finfo")


def unread(node: ast.expr, kept: str, context: Context) -> Iterator[Edit]:
    """Delete the assignments of what an expression reads and nothing else does, once it is replaced by ``kept``."""
    yield from unread_all([node], kept, context)[0]


def unread_all(
    nodes: Sequence[ast.AST], kept: str, context: Context, *, attributes: bool = True
) -> tuple[list[Edit], set[ast.stmt]]:
    """Delete the assignments of what several nodes read and nothing else does, once ``kept`` takes their place.

    The statements that are deleted are returned beside the edits. Without ``attributes``, those of objects stay: code
    of another file may read them.
    """
    gone: set[ast.AST] = set(nodes)
    pending: list[ast.AST] = list(nodes)
    edits: list[Edit] = []
    deleted: set[ast.stmt] = set()
    while pending:
        for read in walk(pending.pop()):
            if isinstance(read, ast.Attribute) and not attributes:
                continue
            found = _deleted_with(read, kept, gone, context)
            if found is None:
                continue
            target, value, more = found
            gone |= {target, value}
            pending.append(value)
            edits += more
            statement = context.places.statement(target)
            if statement is not None:
                deleted.add(statement)
    return edits, deleted


def _deleted_with(
    read: ast.AST, kept: str, gone: set[ast.AST], context: Context
) -> tuple[ast.AST, ast.expr, list[Edit]] | None:
    """What a name is set by, where nothing but what is gone reads it, and the edits that delete that."""
    name = dotted(read) if isinstance(read, (ast.Name, ast.Attribute)) else None
    if name is None or re.search(rf"\b{re.escape(name)}\b", kept):
        return None
    target = _sole_target(read, gone, context)
    found = None if target is None else _without_target(target, context.places)
    return None if target is None or found is None else (target, *found)


def accesses(read: ast.Attribute, context: Context) -> list[ast.Attribute]:
    """Where the file sets or reads the attribute: in its class and those akin, or of an object that is not known."""
    own = class_around(read, context)
    key = accesses, own, read.attr
    if key not in context.known:
        context.known[key] = list(_accesses(own, read.attr, context))
    found: list[ast.Attribute] = context.known[key]
    return found


def _accesses(own: ClassInfo | None, name: str, context: Context) -> Iterator[ast.Attribute]:
    for node in context.places.attributes.get(name, ()):
        cls = class_around(node, context)
        of_another = own is not None and cls is not None and own not in cls.lineage and cls not in own.lineage
        if not (of_another and dotted(node.value) == "self"):
            yield node


def uses(name: str, function: Function) -> list[ast.AST]:
    """Where a function reads or sets a variable, or says that the variable is none of its own."""
    found: list[ast.AST] = []
    for node in walk(function):
        match node:
            case ast.Name(id=used) if used == name:
                found.append(node)
            case ast.Global(names=names) | ast.Nonlocal(names=names) if name in names:
                found.append(node)
    return found


def class_around(node: ast.AST, context: Context) -> ClassInfo | None:
    owner: ClassInfo | None = context.model.names.class_of(context.places.class_(node))
    return owner


def _sole_target(read: ast.AST, gone: set[ast.AST], context: Context) -> ast.AST | None:
    """The only other mention of what ``read`` reads, but for what is gone."""
    places = context.places
    scope = places.function(read)
    same: Sequence[ast.AST] = ()
    if isinstance(read, ast.Attribute) and dotted(read.value) == "self" and not is_spelled_out(read.attr, places):
        same = accesses(read, context)
    elif isinstance(read, ast.Name) and scope is not None:
        same = uses(read.id, scope)
    others = (each for each in same if each not in gone and not any(parent in gone for parent in places.parents(each)))
    rest = list(islice(others, 2))
    return rest[0] if len(rest) == 1 else None


def _without_target(target: ast.AST, places: Exact) -> tuple[ast.expr, list[Edit]] | None:
    """The value of a name or an attribute, and the edits that delete its assignment, alone or one of several."""
    statement = places.statement(target)
    if statement is None or not places.stands_alone(statement):
        return None
    match statement:
        case ast.Assign(targets=[whole], value=value) if whole is target:
            alone = len(places.block(statement)) == 1
            return None if alone or not _is_pure(value) else (value, [places.without_statement(statement)])
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            return _without_one_of(target, targets, values, places)
        case _:
            return None


def _without_one_of(
    target: ast.AST, targets: list[ast.expr], values: list[ast.expr], places: Exact
) -> tuple[ast.expr, list[Edit]] | None:
    """The value of one of several names, and the edits that delete the two."""
    starred = any(isinstance(each, ast.Starred) for each in (*targets, *values))
    if starred or len(targets) != len(values) or len(targets) == 1:
        return None
    index = next((index for index, each in enumerate(targets) if each is target), None)
    if index is None or not _is_pure(values[index]):
        return None
    return values[index], [_without_element(targets, index, places), _without_element(values, index, places)]


def _without_element(elements: list[ast.expr], index: int, places: Exact) -> Edit:
    if index:
        return Edit(places.end_of_whole(elements[index - 1]), places.end_of_whole(elements[index]), "")
    return Edit(places.start_of_whole(elements[0]), places.start_of_whole(elements[1]), "")


def is_spelled_out(name: str, places: Exact) -> bool:
    """The file spells a name in a string, as for ``getattr``."""
    return f'"{name}"' in places.text or f"'{name}'" in places.text


def _is_pure(value: ast.expr) -> bool:
    """Nothing is lost with a value but the number that it is."""
    calls = [node for node in walk(value) if isinstance(node, ast.Call)]
    return all((dotted(call.func) or "").rpartition(".")[2] in _PURE for call in calls)
