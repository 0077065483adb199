"""MHA108: fill with the smallest number of the scores' own dtype."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.mask_value import INFINITE, masking_value, why_not
from mha_lint.fixers.unread import unread
from mha_lint.model.filling import filled_masks, masked_beside

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.filling import Filling
    from mha_lint.rules.base import Hit


def fix(hit: Hit[tuple[Filling | None, tuple[OperationSeen, ...]]], context: Context) -> Fix | str:
    """One edit: the value."""
    filling, seen = hit.evidence
    fill = hit.last
    assert isinstance(fill, ast.expr)
    if filling is None:
        return "the value is not written there"
    value = masking_value(filling, seen, context)
    if value is None:
        reason: str = why_not(filling, context)
        return reason
    places = context.places
    flagged = places.rows(places.statement(fill) or fill)
    edits = (places.replace(filling.value, value), *unread(filling.value, value, context))
    message = f"Mask with `{value}`"
    if fill in filled_masks(context.model.every_operation):
        message += "; a mask of whole numbers has no such number"
        return Fix("unsafe", "repaired", message, edits, flagged, expected="half overflow")
    if not _alone(fill, value, context):
        message += "; beside the other mask, rows that are masked as a whole may come out otherwise"
        return Fix("unsafe", "repaired", message, edits, flagged, expected="half overflow")
    return Fix("safe", "repaired", message, edits, flagged, expected="half overflow")


def _alone(fill: ast.expr, value: str, context: Context) -> bool:
    """Nothing else masks the scores that would tell one small number from another.

    Two that are added may be minus infinity together, and a row of that is NaN; so is a row that the causal mask and
    another leave no key.
    """
    kinds = {masking.kind for masking in masked_beside(context.model.every_operation, fill)}
    return not (kinds & {"add", "times", "unknown"} or (kinds and value == INFINITE))
