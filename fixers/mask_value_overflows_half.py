"""MHA108: fill with the smallest number of the scores' own dtype."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.mask_value import INFINITE, masking_value, why_not
from mha_lint.fixers.unread import unread
from mha_lint.model.filling import filled_masks, masked_beside
from mha_lint.model.values import as_tensor

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
    if any(each.led for each in seen):
        return "the scores are filled in another file, which knows their dtype"
    if filling is None:
        return "a tensor is made of the number" if seen[0].name != "masked_fill" else "the value is not written there"
    value = masking_value(filling, seen, context)
    if value is None:
        reason: str = why_not(filling, context)
        return reason
    of_mask = fill in filled_masks(context.model.everywhere())
    if of_mask and any(map(_is_given, seen)):
        return "the mask is given: of whole numbers `finfo` knows no smallest one"
    places = context.places
    flagged = places.rows(places.statement(fill) or fill)
    edits = (places.replace(filling.value, value), *unread(filling.value, value, context))
    message = f"Mask with `{value}`"
    if of_mask:
        return Fix("unsafe", "repaired", message, edits, flagged, expected="half overflow")
    if not _alone(fill, value, context):
        message += "; beside the other mask, rows that are masked as a whole may come out otherwise"
        return Fix("unsafe", "repaired", message, edits, flagged, expected="half overflow")
    return Fix("safe", "repaired", message, edits, flagged, expected="half overflow")


def _is_given(fill: OperationSeen) -> bool:
    """What is filled is a parameter, of which nobody tells the type."""
    filled = as_tensor(fill.args[0]) if fill.args else None
    return filled is not None and filled.mask is None and filled.key is not None and not filled.key.of_result


def _alone(fill: ast.expr, value: str, context: Context) -> bool:
    """Nothing else masks the scores that would tell one small number from another.

    Two that are added may be minus infinity together, and a row of that is NaN; so is a row that the causal mask and
    another leave no key.
    """
    kinds = {masking.kind for masking in masked_beside(context.model.everywhere(), fill)}
    return not (kinds & {"add", "times", "unknown"} or (kinds and value == INFINITE))
