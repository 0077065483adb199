"""MHA104, where two places scale the scores: the one that scales last stops doing so."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.scaling_number import Number, number_of
from mha_lint.fixers.unread import unread
from mha_lint.model.kernels import scale_name
from mha_lint.model.scale import is_right
from mha_lint.syntax.nodes import dotted

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.scale import Scale, ScaleSeen

PROBES = ("unit score variance",)
_SCALES = ("softmax_scale", "sm_scale", "scaling", "scale", "alpha")  # by which a call is given the scale


def without_last(seen: ScaleSeen, context: Context) -> Fix | str:
    """Hand fused attention the scale 1, or drop the factor that is applied last."""
    scale = seen.scale
    if not _leaves_the_right_one(scale):
        return "more than two places scale, and the code does not say which of them should"
    if seen.caller is not None:
        return "the function that scales may be called with queries that were not scaled before"
    applied = scale.applied
    if applied is scale.product:
        edits = _told_one(applied, context)
        message = "Scale by 1 here: queries or keys were scaled before"
    else:
        number = number_of(seen, context.places)
        edits = () if number is None else _without(applied, number, context)
        message = "Drop the second of the two factors"
    if not edits:
        return "the second factor is applied in a way that this fixer does not rewrite"
    return Fix("unsafe", "corrected", message, edits, probes=PROBES)


def _leaves_the_right_one(scale: Scale) -> bool:
    """Without the last factor, the scale is right."""
    rest = scale.factor / scale.parts[-1]
    return rest is not None and is_right(replace(scale, factor=rest))


def _told_one(call: ast.AST | None, context: Context) -> tuple[Edit, ...]:
    """What scales inside, as fused attention does, is given the scale 1."""
    if not isinstance(call, ast.Call):
        return ()
    written = next((keyword for keyword in call.keywords if keyword.arg in _SCALES), None)
    if written is not None:
        return (context.places.replace(written.value, "1.0"), *unread(written.value, "1.0", context))
    name = scale_name(context.model.names.qualify(call.func) or "")
    return () if name is None else with_keyword(call, name, "1.0", context.places)


def _without(applied: ast.AST | None, number: Number, context: Context) -> tuple[Edit, ...]:
    """What is scaled stays as it is; what was computed for the factor alone goes."""
    places = context.places
    statement = None if applied is None else places.statement(applied)
    if applied is None or statement is None:
        return ()
    gone = unread(number.node, "", context)
    scaled = _scaled(applied, number)
    if scaled is None or _gives_itself(statement, applied, scaled):
        alone = len(places.block(statement)) == 1 or not places.stands_alone(statement)
        return () if alone else (places.without_statement(statement), *gone)
    return (places.replace(applied, places.whole(scaled)), *gone)


def _scaled(applied: ast.AST, number: Number) -> ast.expr | None:
    """The operand beside the factor; None where the whole statement does nothing but scale."""
    match applied:
        case ast.BinOp(left=left, right=right):
            return right if number.node is left else left
        case ast.Call(func=ast.Attribute(value=value)):
            return value
        case _:
            return None


def _gives_itself(statement: ast.stmt, applied: ast.AST, scaled: ast.expr) -> bool:
    """The statement is ``q = q * scale`` or ``q.mul_(scale)``, of which nothing would be left."""
    match statement:
        case ast.Assign(targets=[target], value=value) if value is applied:
            return dotted(target) is not None and dotted(target) == dotted(scaled)
        case ast.Expr(value=value):
            return value is applied
        case _:
            return False
