"""Statements that served a replaced expression alone go with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from mha_lint.findings import Edit
from mha_lint.syntax.nodes import Function, dotted, last_name, walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.syntax.exact import Exact
    from mha_lint.syntax.names import ClassInfo

_PURE = ("sqrt", "size", "float", "int", "len", "finfo")
_PURE_OF_TENSORS = frozenset(
    {
        "arange", "bool", "eq", "expand", "full", "ge", "generate_square_subsequent_mask", "gt", "le", "logical_not",
        "lt", "masked_fill", "ne", "ones", "ones_like", "repeat", "reshape", "to", "tril", "triu", "type_as",
        "unsqueeze", "view", "where", "zeros", "zeros_like",
    }
)  # fmt: skip


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
            taken, values, more = found
            gone |= taken
            pending += values
            edits += more
            deleted |= {each for node in taken if (each := context.places.statement(node)) is not None}
    return edits, deleted


def _deleted_with(
    read: ast.AST, kept: str, gone: set[ast.AST], context: Context
) -> tuple[set[ast.AST], list[ast.AST], list[Edit]] | None:
    """What sets a name that nothing but what is gone reads, the nodes that it reads in turn, and the edits."""
    name = dotted(read) if isinstance(read, (ast.Name, ast.Attribute)) else None
    if name is None or re.search(rf"\b{re.escape(name)}\b", kept):
        return None
    target = _sole_target(read, gone, context)
    found = None if target is None else _without_target(target, context.places)
    if target is not None and found is not None:
        value, edits = found
        return {target, value}, [value], edits
    statements = list(_statements_about(read, gone, context))
    deletions = [context.places.without_statement(statement) for statement in statements]
    return (set(statements), list(statements), deletions) if statements else None


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
    rest = list(islice(_others(same, gone, places), 2))
    return rest[0] if len(rest) == 1 else None


def _others(nodes: Sequence[ast.AST], gone: set[ast.AST], places: Exact) -> Iterator[ast.AST]:
    """Those that no expression or statement which is gone holds."""
    for node in nodes:
        if node not in gone and not any(parent in gone for parent in places.parents(node)):
            yield node


def _statements_about(read: ast.AST, gone: set[ast.AST], context: Context) -> list[ast.stmt]:
    """The statements that do nothing but make what ``read`` reads, step by step, where nothing else mentions it."""
    scope = context.places.function(read)
    if not isinstance(read, ast.Name) or scope is None:
        return []
    found: list[ast.stmt] = []
    for each in _others(uses(read.id, scope), gone, context.places):
        statement = context.places.statement(each)
        if statement is None or not _makes(statement, read.id):
            return []
        if statement not in found:
            found.append(statement)
    return found if _leave_something(found, context.places) else []


def _makes(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement gives a variable its value, or changes it in place, and does nothing else."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
            return _is_pure(value)
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
            return _is_pure(value)
        case ast.AugAssign(target=ast.Name(id=target), value=value) if target == name:
            return _is_pure(value)
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=target), slice=where)], value=value) if target == name:
            return _is_pure(where) and _is_pure(value)
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(id=target), method), args, keywords)) if target == name:
            in_place = method.endswith("_") and not method.startswith("_")
            return in_place and all(map(_is_pure, (*args, *(each.value for each in keywords))))
        case _:
            return False


def _leave_something(statements: list[ast.stmt], places: Exact) -> bool:
    """Tell whether each block keeps a statement when these are deleted, each of them on lines of its own."""
    if not all(map(places.stands_alone, statements)):
        return False
    blocks = [places.block(statement) for statement in statements]
    return all(any(each not in statements for each in block) for block in blocks)


def _without_target(target: ast.AST, places: Exact) -> tuple[ast.expr, list[Edit]] | None:
    """The value of a name or an attribute, and the edits that delete its assignment, alone or one of several."""
    statement = places.statement(target)
    if statement is None or not places.stands_alone(statement):
        return None
    match statement:
        case ast.Assign(targets=[whole], value=value) if whole is target:
            alone = len(places.block(statement)) == 1
            kept = alone or not _is_pure(value) or (isinstance(target, ast.Attribute) and _is_of_tensors(value))
            return None if kept else (value, [places.without_statement(statement)])
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
    return all(_is_pure_call(node.func) for node in walk(value) if isinstance(node, ast.Call))


def _is_pure_call(function: ast.expr) -> bool:
    if (dotted(function) or "").rpartition(".")[2] in _PURE:
        return True
    of_tensor = isinstance(function, ast.Attribute) and dotted(function.value) != "self"
    return of_tensor and last_name(function) in _PURE_OF_TENSORS | frozenset(_PURE)


def _is_of_tensors(value: ast.expr) -> bool:
    """Tell whether a value may be a tensor, which users of an object may ask it for."""
    return any(last_name(node.func) in _PURE_OF_TENSORS for node in walk(value) if isinstance(node, ast.Call))
