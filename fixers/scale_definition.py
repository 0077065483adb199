"""The scale of scores, mended where it is set, if all that read it need the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit
from mha_lint.fixers.constructor import known_before, quotients
from mha_lint.fixers.scaling_number import Number, number_of, power
from mha_lint.fixers.unread import accesses, class_around, is_spelled_out, unread
from mha_lint.model.names import dotted
from mha_lint.model.scale import ScaleSeen, is_right, mistake
from mha_lint.model.usage import walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.attention import FileModel
    from mha_lint.model.names import ClassInfo
    from mha_lint.model.places import Places


@dataclass(frozen=True, slots=True)
class Mended:
    """The edits of a definition, the name that it defines, and what it is afterwards."""

    edits: tuple[Edit, ...]
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
            return _of_the_function(number, number.node, width, context)
    return None


def _of_the_constructor(seen: ScaleSeen, number: Number, read: cst.Attribute, context: Context) -> Mended | None:
    places, name = context.places, read.attr.value
    cls = class_around(read, context)
    init = None if cls is None else cls.methods.get("__init__")
    if cls is None or init is None or is_spelled_out(name, places):
        return None
    value = _sole_value(read, init, context)
    if value is None or not _all_agree(seen, number, read, context, given=_may_be_given(value)):
        return None
    width = _width_there(seen, places.start(value).row, cls, init, context)
    return None if width is None else _mended(value, places.source(read), width, number.exponent, context)


def _of_the_function(number: Number, read: cst.Name, width: str, context: Context) -> Mended | None:
    """A local variable that is set once, for this scaling alone."""
    places = context.places
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
            return _mended(value, read.value, width, number.exponent, context)
    return None


def _sole_value(read: cst.Attribute, init: cst.FunctionDef, context: Context) -> cst.BaseExpression | None:
    """Return what the constructor sets an attribute to, where nothing else sets it."""
    places = context.places
    stores = [node for node in accesses(read, context) or () if _is_set(node, places)]
    if len(stores) != 1 or places.function(stores[0]) is not init or dotted(stores[0].value) != _receiver(init):
        return None
    parents = places.parents(stores[0])
    match next((parent for parent in parents if isinstance(parent, (cst.Assign, cst.AnnAssign))), None):
        case (
            cst.Assign(targets=[cst.AssignTarget(target=target)], value=value)
            | cst.AnnAssign(target=target, value=value)
        ):
            return None if value is None else _value_for(stores[0], target, value)
    return None


def _value_for(
    wanted: cst.Attribute, target: cst.BaseExpression, value: cst.BaseExpression
) -> cst.BaseExpression | None:
    """Return what an assignment gives one of its targets; None where that is not written."""
    if target is wanted:
        return value
    if not isinstance(target, (cst.Tuple, cst.List)) or not isinstance(value, (cst.Tuple, cst.List)):
        return None
    pairs = list(zip(target.elements, value.elements, strict=False))
    if len(target.elements) != len(value.elements) or any(
        isinstance(each, cst.StarredElement) for each in sum(pairs, ())
    ):
        return None
    return next((right.value for left, right in pairs if left.value is wanted), None)


def _receiver(init: cst.FunctionDef) -> str:
    return init.params.params[0].name.value if init.params.params else ""


def may_be_given(read: cst.BaseExpression, context: Context) -> bool:
    """A scale is one that whoever builds the module may hand in: ``self.scale = scale or dim ** -0.5``."""
    cls = class_around(read, context)
    init = None if cls is None else cls.methods.get("__init__")
    if init is None or not isinstance(read, cst.Attribute):
        return False
    value = _sole_value(read, init, context)
    return value is not None and _may_be_given(value)


def _may_be_given(value: cst.BaseExpression) -> bool:
    return isinstance(value, (cst.BooleanOperation, cst.IfExp))


def _all_agree(seen: ScaleSeen, number: Number, read: cst.Attribute, context: Context, *, given: bool) -> bool:
    """All that read an attribute scale scores by it, wrongly, and need the same scale.

    A scale that may be ``given`` is not known where it is.
    """
    wrong: set[cst.CSTNode] = set()
    other: set[cst.CSTNode] = set()
    for each in (each for found in context.model.scales.values() for each in found):
        used = number_of(each, context.places)
        if used is None:
            continue
        alike = used.exponent == number.exponent and each.scale.width == seen.scale.width
        if alike and mistake(each.scale) is not None:
            wrong.add(used.node)
        elif not (alike and given and not is_right(each.scale)):
            other.add(used.node)
    reads = [node for node in accesses(read, context) or () if not _is_set(node, context.places)]
    return all(node in wrong and node not in other for node in reads)


def _is_set(node: cst.CSTNode, places: Places) -> bool:
    parent = next(places.parents(node))
    while isinstance(parent, (cst.Element, cst.Tuple, cst.List)):
        parent = next(places.parents(parent))
    of_another_kind = isinstance(parent, (cst.AnnAssign, cst.AugAssign)) and parent.target is node
    return isinstance(parent, cst.AssignTarget) or of_another_kind


def _width_there(seen: ScaleSeen, row: int, cls: ClassInfo, init: cst.FunctionDef, context: Context) -> str | None:
    """The width of a head as the constructor can write it in that row."""
    model: FileModel = context.model
    width = seen.scale.width
    states = model.model_of(cls).built
    if width is None or not states:
        return None
    kept = [name for size, name in seen.names if size == width and name.startswith(f"{_receiver(init)}.")]
    ways = [list(quotients(width, state, init)) for state in states]
    shared = [text for text in ways[0] if all(text in each for each in ways)]
    return next((text for text in (*shared, *kept) if known_before(text, row, init, context.places)), None)


def _mended(value: cst.BaseExpression, name: str, width: str, exponent: float, context: Context) -> Mended | None:
    match value:
        case cst.BooleanOperation(operator=cst.Or(), right=right):  # a scale that is given, or this one
            return _mended(right, name, width, exponent, context)
        case cst.IfExp(body=body, orelse=orelse) if isinstance(body, cst.Name) != isinstance(orelse, cst.Name):
            return _mended(orelse if isinstance(body, cst.Name) else body, name, width, exponent, context)
        case cst.Name() | cst.BooleanOperation() | cst.IfExp():
            return None
    mended: str = power(width, exponent, context.places)
    base = _under_the_root(value, exponent)
    replaced, content = (value, mended) if base is None else (base, width)
    edits = (context.places.replace(replaced, content), *unread(replaced, content, context))
    return Mended(edits, name, mended)


def _under_the_root(value: cst.BaseExpression, exponent: float) -> cst.BaseExpression | None:
    """The size in ``math.sqrt(size)`` or, where scores are multiplied by it, in ``1 / math.sqrt(size)``."""
    if exponent < 0:
        match value:
            case cst.BinaryOperation(
                left=cst.Integer("1") | cst.Float("1.0" | "1."), operator=cst.Divide(), right=root
            ):
                value = root
            case _:
                return None
    match value:
        case cst.Call(func=func, args=[cst.Arg(value=base, keyword=None, star="")]):
            return base if (dotted(func) or "").rpartition(".")[2] == "sqrt" else None
    return None
