"""MHA111: fill with the smallest number there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.mask_value import masking_value, why_not
from mha_lint.fixers.unread import unread

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.mask_value_masks_nothing import Unmasked

PROBES = ("causality", "masked key")


def fix(hit: Hit[Unmasked], context: Context) -> Fix | str:
    """One edit: the value."""
    evidence = hit.evidence
    filling = evidence.filling
    if evidence.elsewhere:
        return "the scores are filled in another file, which knows their dtype"
    if filling is None:
        return "fill the scores at the masked entries instead of multiplying them"
    value = masking_value(filling, context.model.operations.get(evidence.node, []), context)
    if value is None:
        reason: str = why_not(filling, context)
        return reason
    places = context.places
    flagged = places.rows(places.statement(filling.value) or filling.value)
    edits = (places.replace(filling.value, value), *unread(filling.value, value, context))
    return Fix("unsafe", "corrected", f"Mask with `{value}`", edits, flagged, probes=PROBES)
