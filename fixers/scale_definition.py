"""The scale of scores, mended where it is set, if all that read it need the same one."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Edit
from mha_lint.fixers.constructor import known_before, quotients
from mha_lint.fixers.scaling_number import Number, number_of, power
from mha_lint.fixers.unread import accesses, class_around, is_spelled_out, unread, uses
from mha_lint.model.scale import ScaleSeen, is_right, mistake
from mha_lint.syntax.nodes import Function, dotted, receiver

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.syntax.names import ClassInfo


class Mended(Struct, frozen=True):
    """The edits of a definition, the name that it defines, and what it is afterwards."""

    edits: tuple[Edit, ...]
    name: str
    value: str


def mended_where_set(seen: ScaleSeen, number: Number, width: str | None, context: Context) -> Mended | None:
    """The scale, mended where the constructor or the function sets it; None where others read it for something else.

    ``width`` is the width of a head as the function that scales knows it.
    """
    match number.node:
        case ast.Attribute(value=ast.Name()):
            return _of_the_constructor(seen, number, number.node, context)
        case ast.Name() if width is not None:
            return _of_the_function(number, number.node, width, context)
    return None


def _of_the_constructor(seen: ScaleSeen, number: Number, read: ast.Attribute, context: Context) -> Mended | None:
    places, name = context.places, read.attr
    cls = class_around(read, context)
    init = None if cls is None else cls.methods.get("__init__")
    if cls is None or init is None or is_spelled_out(name, places):
        return None
    value = _sole_value(read, init, context)
    if value is None or not _all_agree(seen, number, read, context, given=_may_be_given(value)):
        return None
    width = _width_there(seen, places.start(value).row, cls, init, context)
    return None if width is None else _mended(value, places.source(read), width, number.exponent, context)


def _of_the_function(number: Number, read: ast.Name, width: str, context: Context) -> Mended | None:
    """A local variable that is set once, for this scaling alone."""
    places = context.places
    function = places.function(read)
    if function is None:
        return None
    others = [node for node in uses(read.id, function) if node is not read]
    if len(others) != 1:
        return None
    match places.statement(others[0]):
        case ast.Assign(targets=[target], value=value) if target is others[0] and known_before(
            width, places.start(value).row, function, places
        ):
            return _mended(value, read.id, width, number.exponent, context)
    return None


def _sole_value(read: ast.Attribute, init: Function, context: Context) -> ast.expr | None:
    """Return what the constructor sets an attribute to, where nothing else sets it."""
    places = context.places
    stores = [node for node in accesses(read, context) if _is_set(node)]
    if len(stores) != 1 or places.function(stores[0]) is not init or dotted(stores[0].value) != receiver(init):
        return None
    match places.statement(stores[0]):
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=value):
            return None if value is None else _value_for(stores[0], target, value)
    return None


def _value_for(wanted: ast.Attribute, target: ast.expr, value: ast.expr) -> ast.expr | None:
    """Return what an assignment gives one of its targets; None where that is not written."""
    if target is wanted:
        return value
    if not isinstance(target, (ast.Tuple, ast.List)) or not isinstance(value, (ast.Tuple, ast.List)):
        return None
    starred = any(isinstance(each, ast.Starred) for each in (*target.elts, *value.elts))
    if starred or len(target.elts) != len(value.elts):
        return None
    return next((right for left, right in zip(target.elts, value.elts, strict=True) if left is wanted), None)


def may_be_given(read: ast.expr, context: Context) -> bool:
    """A scale is one that whoever builds the module may hand in: ``self.scale = scale or dim ** -0.5``."""
    cls = class_around(read, context)
    init = None if cls is None else cls.methods.get("__init__")
    if init is None or not isinstance(read, ast.Attribute):
        return False
    value = _sole_value(read, init, context)
    return value is not None and _may_be_given(value)


def _may_be_given(value: ast.expr) -> bool:
    return isinstance(value, (ast.BoolOp, ast.IfExp))


def _all_agree(seen: ScaleSeen, number: Number, read: ast.Attribute, context: Context, *, given: bool) -> bool:
    """All that read an attribute scale scores by it, wrongly, and need the same scale.

    A scale that may be ``given`` is not known where it is.
    """
    key = _all_agree, number.exponent, seen.scale.width, given
    if key not in context.known:
        context.known[key] = _scaled_by(seen, number, context, given=given)
    wrong, other = context.known[key]
    reads = [node for node in accesses(read, context) if not _is_set(node)]
    return all(node in wrong and node not in other for node in reads)


def _scaled_by(
    seen: ScaleSeen, number: Number, context: Context, *, given: bool
) -> tuple[set[ast.expr], set[ast.expr]]:
    """Return the numbers that wrongly scale scores as ``seen`` does, and those that scale scores in other ways."""
    wrong: set[ast.expr] = set()
    other: set[ast.expr] = set()
    for each in (each for found in context.model.scales.values() for each in found):
        used = number_of(each, context.places)
        if used is None:
            continue
        alike = used.exponent == number.exponent and each.scale.width == seen.scale.width
        if alike and mistake(each.scale) is not None:
            wrong.add(used.node)
        elif not (alike and given and not is_right(each.scale)):
            other.add(used.node)
    return wrong, other


def _is_set(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _width_there(seen: ScaleSeen, row: int, cls: ClassInfo, init: Function, context: Context) -> str | None:
    """The width of a head as the constructor can write it in that row."""
    width = seen.scale.width
    states = context.model.model_of(cls).built
    if width is None or not states:
        return None
    kept = [name for size, name in seen.names if size == width and name.startswith(f"{receiver(init)}.")]
    ways = [list(quotients(width, state, init)) for state in states]
    shared = [text for text in ways[0] if all(text in each for each in ways)]
    return next((text for text in (*shared, *kept) if known_before(text, row, init, context.places)), None)


def _mended(value: ast.expr, name: str, width: str, exponent: float, context: Context) -> Mended | None:
    match value:
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):  # a scale that is given, or this one
            return _mended(last, name, width, exponent, context)
        case ast.IfExp(body=body, orelse=orelse) if _is_plain(body) != _is_plain(orelse):
            return _mended(orelse if _is_plain(body) else body, name, width, exponent, context)
        case ast.BoolOp() | ast.IfExp():
            return None
    if _is_plain(value):
        return None
    mended = power(width, exponent, context.places)
    base = _under_the_root(value, exponent)
    replaced, content = (value, mended) if base is None else (base, width)
    edits = (context.places.replace(replaced, content), *unread(replaced, content, context))
    return Mended(edits, name, mended)


def _is_plain(value: ast.expr) -> bool:
    """A name or None, which computes nothing."""
    return isinstance(value, ast.Name) or (isinstance(value, ast.Constant) and value.value is None)


def _under_the_root(value: ast.expr, exponent: float) -> ast.expr | None:
    """The size in ``math.sqrt(size)`` or, where scores are multiplied by it, in ``1 / math.sqrt(size)``."""
    if exponent < 0:
        match value:
            case ast.BinOp(left=ast.Constant(value=1), op=ast.Div(), right=root):  # or 1.0, which equals it
                value = root
            case _:
                return None
    match value:
        case ast.Call(func=func, args=[base], keywords=[]) if not isinstance(base, ast.Starred):
            return base if (dotted(func) or "").rpartition(".")[2] == "sqrt" else None
    return None
