"""MHA108: fill with the smallest number of the scores' own dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.mask_value import masking_value, why_not
from mha_lint.fixers.unread import unread

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit: the value."""
    filling, seen = hit.evidence
    if filling is None:
        return "the value is not written there"
    value: str | None = masking_value(filling, seen, context)
    if value is None:
        reason: str = why_not(filling, context)
        return reason
    places = context.places
    flagged = places.rows(places.statement(hit.last) or hit.last)
    edits = (places.replace(filling.value, value), *unread(filling.value, value, context))
    return Fix("safe", "repaired", f"Mask with `{value}`", edits, flagged, expected="half overflow")
