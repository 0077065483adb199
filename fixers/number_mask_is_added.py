"""MHA113: make the mask boolean."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.number_mask_is_added import Added

PROBES = ("causality", "masked key")


def fix(hit: Hit[Added], context: Context) -> Fix | str:
    """One edit: the mask, compared with 0."""
    evidence = hit.evidence
    if evidence.elsewhere:
        return "the mask is used in another file, which says there what a 1 means"
    if evidence.right is None:
        return "the code does not tell whether 1 marks the keys to attend to, or those to leave out"
    places, mask = context.places, evidence.mask
    text = places.source(mask)
    if not isinstance(mask, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        text = f"({text})"
    content = f"{text}.bool()" if evidence.right else f"{text} == 0"
    flagged = places.rows(places.statement(mask) or mask)
    edit = places.replace(mask, content)
    return Fix("unsafe", "corrected", f"Make the mask boolean: `{content}`", (edit,), flagged, probes=PROBES)
