"""MHA117: tell the layer that the batch comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.known_axes import known_axes

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.batch_first_missing import BatchFirst

PROBES = ("batch independence", "tokens meet")

_SINCE = (1, 9)  # of ``batch_first``; the layer may be called by any name


def fix(hit: Hit[BatchFirst], context: Context) -> Fix | str:
    """One more argument for the constructor of the layer."""
    if hit.evidence.elsewhere:
        return "the layer is built in another file"
    if hit.evidence.raises:
        return (
            "the shape of the mask makes torch raise, but in a batch of as many entries as tokens: nothing can be tried"
        )
    made, places = hit.evidence.made, context.places
    edits = with_keyword(made, "batch_first", "True", places)
    axes = known_axes(hit.evidence.given, hit.symbol, context)
    flagged = places.rows(made)
    return Fix(
        "unsafe", "corrected", "Say `batch_first=True`", edits, flagged, probes=PROBES, axes=axes, needs_torch=_SINCE
    )
