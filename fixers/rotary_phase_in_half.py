"""MHA120: keep the factors of angles in float32, and cast the cosines and sines instead."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import HALF_PHASE, Edit, Fix
from mha_lint.model.operations import copies
from mha_lint.model.rotary import Precision
from mha_lint.syntax.nodes import dotted, last_name
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.rotary_phase_in_half import Rounded

_BUFFER = (
    "no `.float()` brings back what the cast of a buffer has rounded: compute the frequencies in `forward`, or keep "
    "cosines and sines in their place"
)
_HALVES = {"half": "float16", "float16": "float16", "bfloat16": "bfloat16"}  # what code calls them, and their names
_JOINS = frozenset({"cat", "concat", "stack"})
_PLAIN = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.UnaryOp, ast.USub, ast.Load)


class _Kept(Struct, frozen=True):
    """The edit that keeps a factor in float32, and the type to which it was cast, as code writes it.

    It is ``fixed`` where that type is half precision whatever the module computes in: then float32 results change, too.
    """

    edit: Edit
    kind: str
    fixed: bool


def fix(hit: Hit[Rounded], context: Context) -> Fix | str:
    """One edit for each cast, and one for each call that takes cosines or sines."""
    rounded = hit.evidence
    places, phase = context.places, rounded.phase
    if any(held.precision is Precision.BUFFER for held in phase.factors):
        return _BUFFER
    casts = rounded.casts
    torch = next((name for name, full in context.model.names.imports.items() if full == "torch"), None)
    if any(node in context.model.abroad for node in casts):
        return "another file casts a factor, too"
    kept = [_kept_single(node, torch, context) for node in casts]
    found = [each for each in kept if each is not None]
    if len(found) < len(kept):
        return "the factor is cast in a way that this fixer does not rewrite"
    edits = [each.edit for each in found]
    if _is_lowered(rounded):
        kinds = {each.kind: each.fixed for each in found}
        if len(kinds) != 1:
            return "the factors are cast to types of several names"
        ((kind, fixed),) = kinds.items()
        taken = [node for node in rounded.taken if isinstance(node, ast.Call) and last_name(node.func) != "polar"]
        if not fixed and any(not _is_together(node, casts, context) for node in taken):
            return "the angles are not computed where their cosines and sines are taken"
        bare = [node for node in taken if not _is_cast(node, context)]
        if bare and fixed and torch is None:
            return "torch has no name here"
        edits += [_cast_afterwards(node, kind, context) for node in bare]
    flagged = [row for node in casts for row in places.rows(places.statement(node) or node)]
    unsafe = any(each.fixed for each in found)
    message = "Compute the angles in float32, and cast their cosines and sines"
    return Fix(
        "unsafe" if unsafe else "safe",
        "repaired",
        message,
        tuple(dict.fromkeys(edits)),
        tuple(dict.fromkeys(flagged)),
        expected=HALF_PHASE,
    )


def _is_lowered(rounded: Rounded) -> bool:
    """The product has the type of the activations: no factor of it is float32."""
    frequencies, *positions = rounded.phase.factors
    return frequencies.precision is Precision.ACTIVATIONS and all(
        held.precision is not Precision.SINGLE for held in positions
    )


def _is_together(node: ast.expr, casts: tuple[ast.expr, ...], context: Context) -> bool:
    """The cosines or sines are taken in the function that casts, and in this module."""
    if node in context.model.abroad:
        return False
    function = context.places.function(node)
    return function is not None and all(context.places.function(cast) is function for cast in casts)


def _kept_single(node: ast.expr, torch: str | None, context: Context) -> _Kept | None:
    """Return how the cast at ``node`` is written so that it keeps a factor in float32; None where that is not known."""
    if not isinstance(node, ast.Call):
        return None
    named = next((keyword.value for keyword in node.keywords if keyword.arg == "dtype"), None)
    if named is not None:
        return _of_type(named, torch, context)
    if not isinstance(node.func, ast.Attribute):
        return None
    places = context.places
    name, given = node.func.attr, node.args
    if name in _HALVES and not given:
        edit = Edit(places.start(NameOf(node.func)), places.end(node), "float()")
        return _Kept(edit, f"{torch}.{_HALVES[name]}", fixed=True)
    if name not in ("to", "type", "type_as") or (node.keywords and name != "to"):
        return None
    for each in given:
        if _is_a_type(each, torch):
            return _of_type(each, torch, context)
    if torch is None or len(given) != 1 or node.keywords or not _is_plain(given[0]):
        return None
    # A tensor: what is cast goes to its device, too.
    like = places.source(given[0])
    content = f"to({like}.device, {_wider(f'{like}.dtype', torch)})"
    return _Kept(Edit(places.start(NameOf(node.func)), places.end(node), content), f"{like}.dtype", fixed=False)


def _of_type(node: ast.expr, torch: str | None, context: Context) -> _Kept | None:
    """The edit of an expression that names a type."""
    kind = context.places.source(node)
    if dotted(node) in {f"{torch}.{name}" for name in _HALVES}:
        return _Kept(context.places.replace(node, f"{torch}.float32"), kind, fixed=True)
    if torch is None or not _is_plain(node):
        return None
    return _Kept(context.places.replace(node, _wider(kind, torch)), kind, fixed=False)


def _is_a_type(node: ast.expr, torch: str | None) -> bool:
    """An argument of a cast is a type by its name: ``x.dtype``, ``compute_dtype``, ``torch.float16``."""
    name = dotted(node) or ""
    return "dtype" in last_name(node) or name in {f"{torch}.{half}" for half in _HALVES}


def _is_plain(node: ast.expr) -> bool:
    """Nothing is computed: it can be written twice."""
    return all(isinstance(each, _PLAIN) for each in ast.walk(node))


def _wider(kind: str, torch: str) -> str:
    """The type in which the angles are computed: float32, or float64 where the activations are that."""
    return f"{torch}.promote_types({kind}, {torch}.float32)"


def _is_cast(node: ast.Call, context: Context) -> bool:
    """The code casts the cosines or sines itself: by a method, or because it writes them into a table."""
    around: ast.AST = node
    while True:
        outer = context.places.parent(around)
        match outer:
            case ast.Attribute(attr=name) if copies(name):
                return True
            case ast.Attribute() | ast.Subscript(value=ast.expr()):
                around = outer
            case ast.Call(func=func) if func is around or last_name(func) in _JOINS:
                around = outer
            case ast.Tuple() | ast.List() if isinstance(context.places.parent(outer), ast.Call):
                around = outer  # what is joined is cast together
            case ast.Assign(targets=[ast.Subscript()]):
                return True
            case _:
                return False


def _cast_afterwards(node: ast.Call, kind: str, context: Context) -> Edit:
    end = context.places.end(node)
    return Edit(end, end, f".to({kind})")
