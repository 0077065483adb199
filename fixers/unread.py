"""Statements that served a replaced expression alone go with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.edits import row_starts
from mha_lint.findings import Edit
from mha_lint.model.names import dotted
from mha_lint.model.usage import walk
from mha_lint.parsing import silently
from mha_lint.rules.dropout_active_in_eval import class_of

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.names import ClassInfo
    from mha_lint.model.places import Places


def unread(node: cst.BaseExpression, kept: str, context: Context) -> Iterator[Edit]:
    """Delete the assignments of what an expression reads and nothing else does, once it is replaced by ``kept``."""
    gone: set[cst.CSTNode] = {node}
    pending = [node]
    while pending:
        for read in walk(pending.pop()):
            name = dotted(read) if isinstance(read, (cst.Name, cst.Attribute)) else None
            if name is None or re.search(rf"\b{re.escape(name)}\b", kept):
                continue
            target = _sole_target(read, gone, context)
            found = None if target is None else _without_target(target, context.places)
            if target is None or found is None:
                continue
            value, edits = found
            gone |= {target, value}
            pending.append(value)
            yield from edits


def accesses(read: cst.Attribute, context: Context) -> list[cst.Attribute] | None:
    """Where the file sets or reads the attribute: in its class and those akin, or of an object that is not known.

    None where it does so in code that the linter had no reason to look at.
    """
    own, name = class_around(read, context), read.attr.value
    found: list[cst.Attribute] = []
    looked_at: set[tuple[int, int]] = set()
    for node in walk(context.places.module):
        if not isinstance(node, cst.Attribute) or node.attr.value != name:
            continue
        end = context.places.end(node)
        looked_at.add((end.row, end.column))
        cls = class_around(node, context)
        of_another = own is not None and cls is not None and own not in cls.lineage and cls not in own.lineage
        if not (of_another and dotted(node.value) == "self"):
            found.append(node)
    akin = frozenset() if own is None else frozenset(cls.name for cls in own.lineage)
    return None if any(at not in looked_at for at in _mentions(context.places.text, name, akin)) else found


def _mentions(text: str, name: str, akin: frozenset[str]) -> set[tuple[int, int]]:
    """Where accesses of an attribute end in the whole file, but for those that other classes make of their own."""
    try:
        with silently():
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {(0, 0)}  # it may be anywhere
    starts = [*row_starts(text), len(text)]
    found: set[tuple[int, int]] = set()
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, of_another = pending.pop()
        if isinstance(node, ast.ClassDef):
            bases = {each.id for base in node.bases for each in ast.walk(base) if isinstance(each, ast.Name)}
            of_another = bool(akin) and akin.isdisjoint({node.name, *bases})
        if isinstance(node, ast.Attribute) and node.attr == name:
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not (own and of_another):
                row = node.end_lineno or node.lineno
                line = text[starts[row - 1] : starts[row]].encode("utf-8", "surrogatepass")
                found.add((row, len(line[: node.end_col_offset].decode("utf-8", "ignore")) + 1))
        pending += [(child, of_another) for child in ast.iter_child_nodes(node)]
    return found


def class_around(node: cst.CSTNode, context: Context) -> ClassInfo | None:
    owner = next((parent for parent in context.places.parents(node) if isinstance(parent, cst.ClassDef)), None)
    return None if owner is None else class_of(owner, context.model)


def _sole_target(read: cst.CSTNode, gone: set[cst.CSTNode], context: Context) -> cst.CSTNode | None:
    """The only other mention of what ``read`` reads, but for what is gone."""
    places = context.places
    scope = places.function(read)
    same: list[cst.CSTNode] = []
    if isinstance(read, cst.Attribute) and dotted(read.value) == "self" and not is_spelled_out(read.attr.value, places):
        same = [*(accesses(read, context) or ())]
    elif isinstance(read, cst.Name) and scope is not None:
        same = [each for each in walk(scope) if isinstance(each, cst.Name) and each.value == read.value]
    rest = [each for each in same if each not in gone and not any(parent in gone for parent in places.parents(each))]
    return rest[0] if len(rest) == 1 else None


def _without_target(target: cst.CSTNode, places: Places) -> tuple[cst.BaseExpression, list[Edit]] | None:
    """The value of a name or an attribute, and the edits that delete its assignment, alone or one of several."""
    statement = places.statement(target)
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=whole)], value=value)]):
            pass
        case _:
            return None
    if whole is target:
        alone = len(places.block(statement)) == 1
        return None if alone or not _is_pure(value) else (value, [places.without_statement(statement)])
    if not isinstance(whole, cst.Tuple) or not isinstance(value, cst.Tuple):
        return None
    targets, values = [each.value for each in whole.elements], [each.value for each in value.elements]
    starred = any(isinstance(each, cst.StarredElement) for each in (*whole.elements, *value.elements))
    if starred or len(targets) != len(values) or not isinstance(target, (cst.Name, cst.Attribute)):
        return None
    index = next((index for index, each in enumerate(targets) if each is target), None)
    if index is None or not _is_pure(values[index]):
        return None
    return values[index], [_without_element(targets, index, places), _without_element(values, index, places)]


def _without_element(elements: list[cst.BaseExpression], index: int, places: Places) -> Edit:
    if index:
        return Edit(places.end_of_whole(elements[index - 1]), places.end_of_whole(elements[index]), "")
    return Edit(places.start_of_whole(elements[0]), places.start_of_whole(elements[1]), "")


def is_spelled_out(name: str, places: Places) -> bool:
    """The file spells a name in a string, as for ``getattr``."""
    return f'"{name}"' in places.text or f"'{name}'" in places.text


def _is_pure(value: cst.BaseExpression) -> bool:
    """Nothing is lost with a value but the number that it is."""
    calls = [node for node in walk(value) if isinstance(node, cst.Call)]
    return all(
        (dotted(call.func) or "").rpartition(".")[2] in ("sqrt", "size", "float", "int", "len") for call in calls
    )
