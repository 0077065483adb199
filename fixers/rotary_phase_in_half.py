"""MHA120: keep the factors of angles in float32, and cast the cosines and sines instead."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.model.operations import copies
from mha_lint.model.rotary import Precision
from mha_lint.syntax.nodes import dotted
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.rotary_phase_in_half import Rounded

_BUFFER = (
    "no `.float()` brings back what the cast of a buffer has rounded: compute the frequencies in `forward`, or keep "
    "cosines and sines in their place"
)


def fix(hit: Hit[Rounded], context: Context) -> Fix | str:
    """One edit for each cast, and one for each call that takes cosines or sines."""
    rounded = hit.evidence
    places, phase = context.places, rounded.phase
    if any(held.precision is Precision.BUFFER for held in phase.factors):
        return _BUFFER
    casts = rounded.casts
    torch = next((name for name, full in context.model.names.imports.items() if full == "torch"), None)
    function = places.function(phase.node)
    nodes = (*casts, phase.node, *rounded.taken)
    if torch is None or function is None or any(places.function(node) is not function for node in nodes):
        return "the angles are not computed where their cosines and sines are taken"
    edits: list[Edit] = []
    types: set[str] = set()
    for node in casts:
        found = _kept_single(node, torch, context)
        if found is None:
            return "the factor is cast in a way that this fixer does not rewrite"
        edit, kind = found
        edits.append(edit)
        types.add(kind)
    if _is_lowered(rounded):
        if len(types) != 1:
            return "the factors are cast to types of several names"
        (kind,) = types
        calls = (node for node in rounded.taken if isinstance(node, ast.Call))
        edits += [_cast_afterwards(node, kind, context) for node in calls if not _is_cast(node, context)]
    return Fix("safe", "equivalent", "Compute the angles in float32, and cast their cosines and sines", tuple(edits))


def _is_lowered(rounded: Rounded) -> bool:
    """The product has the type of the activations: no factor of it is float32."""
    frequencies, *positions = rounded.phase.factors
    return frequencies.precision is Precision.ACTIVATIONS and all(
        held.precision is not Precision.SINGLE for held in positions
    )


def _kept_single(node: ast.expr, torch: str, context: Context) -> tuple[Edit, str] | None:
    """The edit that keeps a factor in float32, and the type to which it was cast, as code writes it."""
    if not isinstance(node, ast.Call):
        return None
    places = context.places
    named = next((keyword.value for keyword in node.keywords if keyword.arg == "dtype"), None)
    if named is not None:
        kind = dotted(named)
        if kind is None or kind.startswith(f"{torch}."):
            return None  # half precision whatever the module computes in: results would change in float32, too
        return places.replace(named, _wider(kind, torch)), kind
    if not isinstance(node.func, ast.Attribute) or node.keywords or len(node.args) != 1:
        return None
    kind = dotted(node.args[0])
    if kind is None or kind.startswith(f"{torch}."):
        return None
    if kind.endswith(".dtype"):
        return places.replace(node.args[0], _wider(kind, torch)), kind
    # A tensor: what is cast goes to its device, too.
    content = f"to({kind}.device, {_wider(f'{kind}.dtype', torch)})"
    return Edit(places.start(NameOf(node.func)), places.end(node), content), f"{kind}.dtype"


def _wider(kind: str, torch: str) -> str:
    """The type in which the angles are computed: float32, or float64 where the activations are that."""
    return f"{torch}.promote_types({kind}, {torch}.float32)"


def _is_cast(node: ast.Call, context: Context) -> bool:
    """The code casts the cosines or sines itself."""
    around = context.places.parent(node)
    return isinstance(around, ast.Attribute) and copies(around.attr)


def _cast_afterwards(node: ast.Call, kind: str, context: Context) -> Edit:
    end = context.places.end(node)
    return Edit(end, end, f".to({kind})")
