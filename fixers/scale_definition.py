"""The scale of scores, mended where it is set, if all that read it need the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit
from mha_lint.fixers.constructor import known_before, quotients
from mha_lint.fixers.scaling_number import Number, is_spelled_out, number_of, power
from mha_lint.model.names import dotted
from mha_lint.model.scale import ScaleSeen, mistake
from mha_lint.model.usage import walk
from mha_lint.rules.dropout_active_in_eval import class_of

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.attention import FileModel
    from mha_lint.model.names import ClassInfo
    from mha_lint.model.places import Places
    from mha_lint.model.sizes import Size


@dataclass(frozen=True, slots=True)
class Mended:
    """The edit of a definition, the name that it defines, and what it is afterwards."""

    edit: Edit
    name: str
    value: str


def mended_where_set(seen: ScaleSeen, number: Number, width: str | None, context: Context) -> Mended | None:
    """The scale, mended where the constructor or the function sets it; None where others read it for something else.

    ``width`` is the width of a head as the function that scales knows it.
    """
    match number.node:
        case cst.Attribute(value=cst.Name(), attr=cst.Name()):
            return _of_the_constructor(seen, number, number.node, context)
        case cst.Name() if width is not None:
            return _of_the_function(number, number.node, width, context.places)
    return None


def _of_the_constructor(seen: ScaleSeen, number: Number, read: cst.Attribute, context: Context) -> Mended | None:
    places, name = context.places, read.attr.value
    cls = _class_around(read, context)
    init = None if cls is None else cls.methods.get("__init__")
    if cls is None or init is None or is_spelled_out(name, places):
        return None
    value = _sole_value(read, init, places)
    if value is None or not _all_agree(seen, number, read, context):
        return None
    assert seen.scale.width is not None
    width = _width_there(seen.scale.width, places.start(value).row, cls, init, context)
    return None if width is None else _mended(value, places.source(read), width, number.exponent, places)


def _of_the_function(number: Number, read: cst.Name, width: str, places: Places) -> Mended | None:
    """A local variable that is set once, for this scaling alone."""
    function = places.function(read)
    if function is None:
        return None
    same = [node for node in walk(function) if isinstance(node, cst.Name) and node.value == read.value]
    others = [node for node in same if node is not read]
    if len(others) != 1:
        return None
    match places.statement(others[0]):
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=target)], value=value)]) if (
            target is others[0] and known_before(width, places.start(value).row, function, places)
        ):
            return _mended(value, read.value, width, number.exponent, places)
    return None


def _class_around(node: cst.CSTNode, context: Context) -> ClassInfo | None:
    owner = next((parent for parent in context.places.parents(node) if isinstance(parent, cst.ClassDef)), None)
    return None if owner is None else class_of(owner, context.model)


def _attributes(name: str, places: Places) -> list[cst.Attribute]:
    return [node for node in walk(places.module) if isinstance(node, cst.Attribute) and node.attr.value == name]


def _sole_value(read: cst.Attribute, init: cst.FunctionDef, places: Places) -> cst.BaseExpression | None:
    """What the constructor sets an attribute to, which nothing else in the file sets."""
    found: list[cst.BaseExpression | None] = []
    for node in walk(places.module):
        targets: list[cst.BaseExpression] = []
        value: cst.BaseExpression | None = None
        match node:
            case cst.Assign(targets=[cst.AssignTarget(target=target)], value=value):
                targets = [target]
            case cst.Assign(targets=several):
                targets = [each.target for each in several]
            case cst.AnnAssign(target=target, value=value):
                targets = [target]
            case cst.AugAssign(target=target):
                targets = [target]
        for target in targets:
            found += _values_for(read.attr.value, target, value)
    if len(found) != 1 or found[0] is None:
        return None
    value = found[0]
    return value if places.function(value) is init and dotted(read.value) == _receiver(init) else None


def _values_for(
    name: str, target: cst.BaseExpression, value: cst.BaseExpression | None
) -> list[cst.BaseExpression | None]:
    """What an assignment gives an attribute of that name: one for each time that it sets it; None where unclear."""
    if isinstance(target, cst.Attribute):
        return [value] if target.attr.value == name else []
    if not isinstance(target, (cst.Tuple, cst.List)):
        return []
    elements = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
    starred = any(isinstance(each, cst.StarredElement) for each in (*elements, *target.elements))
    aligned = len(elements) == len(target.elements) and not starred
    found: list[cst.BaseExpression | None] = []
    for index, element in enumerate(target.elements):
        found += _values_for(name, element.value, elements[index].value if aligned else None)
    return found


def _receiver(init: cst.FunctionDef) -> str:
    return init.params.params[0].name.value if init.params.params else ""


def _all_agree(seen: ScaleSeen, number: Number, read: cst.Attribute, context: Context) -> bool:
    """Whether all that read an attribute scale scores by it, wrongly, and need the same scale."""
    wrong: set[cst.CSTNode] = set()
    other: set[cst.CSTNode] = set()
    for each in (each for found in context.model.scales.values() for each in found):
        used = number_of(each, context.places)
        if used is None:
            continue
        agrees = mistake(each.scale) is not None and used.exponent == number.exponent
        (wrong if agrees and each.scale.width == seen.scale.width else other).add(used.node)
    stores = {node for node in _attributes(read.attr.value, context.places) if _is_set(node, context.places)}
    reads = [node for node in _attributes(read.attr.value, context.places) if node not in stores]
    return all(node in wrong and node not in other for node in reads)


def _is_set(node: cst.CSTNode, places: Places) -> bool:
    parent = next(places.parents(node))
    while isinstance(parent, (cst.Element, cst.Tuple, cst.List)):
        parent = next(places.parents(parent))
    return isinstance(parent, cst.AssignTarget) or (isinstance(parent, cst.AnnAssign) and parent.target is node)


def _width_there(size: Size, row: int, cls: ClassInfo, init: cst.FunctionDef, context: Context) -> str | None:
    """The width of a head as the constructor can write it in that row."""
    model: FileModel = context.model
    states = model.model_of(cls).built
    if not states:
        return None
    ways = [list(quotients(size, state, init)) for state in states]
    shared = [text for text in ways[0] if all(text in each for each in ways)]
    return next((text for text in shared if known_before(text, row, init, context.places)), None)


def _mended(value: cst.BaseExpression, name: str, width: str, exponent: float, places: Places) -> Mended | None:
    whole = power(width, exponent, places)
    match value:
        case cst.BooleanOperation(operator=cst.Or(), right=right):  # a scale that is given, or this one
            return _mended(right, name, width, exponent, places)
        case cst.IfExp(body=body, orelse=orelse) if isinstance(body, cst.Name) != isinstance(orelse, cst.Name):
            return _mended(orelse if isinstance(body, cst.Name) else body, name, width, exponent, places)
        case cst.Name():
            return None
    root = value
    if exponent < 0:
        match value:
            case cst.BinaryOperation(left=cst.Integer("1") | cst.Float(), operator=cst.Divide(), right=under):
                root = under
    match root:
        case cst.Call(func=func, args=[cst.Arg(value=base, keyword=None, star="")]) if (dotted(func) or "").rpartition(
            "."
        )[2] == "sqrt" and (root is not value or exponent > 0):
            return Mended(places.replace(base, width), name, whole)
    return Mended(places.replace(value, whole), name, whole)
