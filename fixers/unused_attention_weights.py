"""MHA202: tell the layer that its weights are not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mha_lint.findings import Applicability, Fix
from mha_lint.fixers.arguments import with_keyword

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.unused_attention_weights import Unused


def fix(hit: Hit[Unused], context: Context) -> Fix | str:
    """One more argument, or another value for it."""
    call, said, places = hit.evidence.call, hit.evidence.said, context.places
    added = said is None
    edits = with_keyword(call, "need_weights", "False", places) if added else (places.replace(said, "False"),)
    safety: Applicability = "unsafe" if hit.evidence.drops or hit.evidence.hinted else "safe"
    return Fix(safety, "equivalent", "Say `need_weights=False`", edits)
