"""MHA119: lay the table of angles out in the way in which vectors are rotated, or let positions fit a cache of keys."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.rotary_behind_cache import behind_cache
from mha_lint.model.rotary import Laid, RotationSeen
from mha_lint.rules.rotary_behind_cache import BehindCache
from mha_lint.syntax.nodes import argument, last_name

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.syntax.exact import Exact

PROBES = ("relative positions",)
_PACKAGES = ("torch", "einops")


def fix(hit: Hit[tuple[RotationSeen, ...] | BehindCache], context: Context) -> Fix | str:
    """Edits that lay the angles out, or that let positions and cache fit."""
    if isinstance(hit.evidence, BehindCache):
        mended: Fix | str = behind_cache(hit.evidence, context)
        return mended
    return _laid_out_alike(hit.evidence, context)


def _laid_out_alike(rotations: tuple[RotationSeen, ...], context: Context) -> Fix | str:
    """One edit for each expression that lays the angles out."""
    model, places = context.model, context.places
    tables = [table for each in rotations for table in (each.sines, each.cosines) if table is not None]
    if any(each.cosines is None for each in rotations):
        return "what the vector itself is multiplied by is not known to be such a table"
    laid_out = list(dict.fromkeys(table.by for table in tables if table.by is not None))
    if any(node in model.abroad for node in laid_out):
        return "the angles are laid out in another file"
    seen = [each for found in model.rotations.values() for each in found]
    if any(each.sines.by in laid_out and not each.mixed for each in seen):
        return "other vectors are rotated rightly by the same table"
    torch = next((name for name, full in model.names.imports.items() if full == "torch"), None)
    wanted = rotations[0].turned.by
    edits: list[Edit] = []
    for node in laid_out:
        content = None if torch is None else _laid_out(node, wanted, torch, places)
        if content is None:
            return "the angles are laid out in a way that this fixer does not rewrite"
        edits.append(places.replace(node, content))
    flagged = tuple(sorted({row for each in rotations if each.node not in model.abroad
                            for row in places.rows(places.statement(each.node) or each.node)}))  # fmt: skip
    how = "halves" if wanted is Laid.HALVES else "neighbours"
    return Fix("unsafe", "corrected", f"Lay the angles out by {how}", tuple(edits), flagged, probes=PROBES)


def _laid_out(node: ast.expr, wanted: Laid, torch: str, places: Exact) -> str | None:
    """The expression that lays the same angles out as wanted; None where it is written in a way that is not known."""
    angles = _angles(node)
    if angles is None:
        return None
    if wanted is Laid.HALVES:
        text = places.source(angles)
        is_short = isinstance(angles, (ast.Name, ast.Attribute))
        both = f"({text}, {text})" if is_short or _takes_turns(angles) else f"({text},) * 2"
        return f"{torch}.cat({both}, dim=-1)"
    chained = isinstance(angles, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    text = places.source(angles) if chained else f"({places.source(angles)})"
    return f"{text}.repeat_interleave(2, dim=-1)"


def _takes_turns(angles: ast.expr) -> bool:
    """The expression is as short as ``angles.cos()``."""
    match angles:
        case ast.Call(func=ast.Attribute(value=ast.Name()), args=[], keywords=[]):
            return True
        case _:
            return False


def _angles(node: ast.expr) -> ast.expr | None:
    """What is laid out: ``f`` of ``torch.cat((f, f), -1)``, ``f.repeat_interleave(2, -1)`` and the like.

    Two that are stacked are laid out by the view of the stack.
    """
    if not isinstance(node, ast.Call):
        return None
    twice = _twice(node)
    if twice is not None:
        return twice
    first = argument(node, 0, "input", "tensor")
    if isinstance(node.func, ast.Name):  # of einops, or of torch by its own name
        of = first
    elif isinstance(node.func, ast.Attribute):
        is_function = isinstance(node.func.value, ast.Name) and node.func.value.id in _PACKAGES
        of = first if is_function else node.func.value
    else:
        return None
    if isinstance(of, ast.Call) and _twice(of) is not None:
        return _twice(of)
    return of if last_name(node.func).startswith("repeat") else None


def _twice(call: ast.Call) -> ast.expr | None:
    """One of the two tensors, which are the same, that a call joins."""
    tensors = argument(call, 0, "tensors")
    return tensors.elts[0] if isinstance(tensors, (ast.Tuple, ast.List)) and len(tensors.elts) == 2 else None
