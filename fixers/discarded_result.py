"""MHA114: assign what the call gives to the name of the tensor."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import RAISES, Edit, Fix
from mha_lint.model.operations.table import OPERATIONS
from mha_lint.syntax.nodes import every_parameter
from mha_lint.syntax.usage import stored

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.discarded_result import Discarded

OF_MASKS = ("causality", "masked key")
# What a layout or a number that is lost may break. Where none of it is broken, the line may be a leftover.
OF_OTHERS = (
    "tokens meet",
    "unit score variance",
    "constant value",
    "batch independence",
    "permutation equivariance",
    RAISES,
)


def fix(hit: Hit[Discarded], context: Context) -> Fix | str:
    """One edit: the name and ``=`` before the statement."""
    evidence, places = hit.evidence, context.places
    written = _first(evidence.written)
    if not isinstance(written, ast.Name):
        return "the tensor has no name to which the result could be assigned"
    if not _is_bound_here(written.id, evidence.call, context):
        return f"`{written.id}` is a name of the code around this function"
    start = places.start(evidence.call)
    edit = Edit(start, start, f"{written.id} = ")
    flagged = places.rows(evidence.call)
    probes = OF_MASKS if evidence.masks else OF_OTHERS
    return Fix("unsafe", "corrected", f"Assign the result to `{written.id}`", (edit,), flagged, probes=probes)


def _first(written: ast.expr | None) -> ast.expr | None:
    """What a chain of methods of tensors begins with: ``x`` of ``x.transpose(1, 2).reshape(b, t, c)``."""
    while isinstance(written, ast.Call) and isinstance(written.func, ast.Attribute) and written.func.attr in OPERATIONS:
        written = written.func.value
    return written


def _is_bound_here(name: str, call: ast.Call, context: Context) -> bool:
    """Tell whether a name is a parameter of the function around a call, or is assigned there."""
    function = context.places.function(call)
    if function is None:
        return False
    given = [each.arg for each in every_parameter(function)]
    return name in given or name in stored(function)
