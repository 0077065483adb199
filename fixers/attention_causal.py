"""The causal mask of attention by hand, where fused attention has a flag for it."""

from __future__ import annotations

from mha_lint.model.by_hand.steps import Added, ByHand, Choice, Filled
from mha_lint.syntax.nodes import dotted


def causal_flag(found: ByHand) -> str:
    """The text of ``is_causal`` for attention whose only mask is the causal one; empty where no flag can say when."""
    mask = next(step for step in found.steps() if isinstance(step, (Added, Filled)))
    for link in found.links:
        if isinstance(link, Choice) and any(mask in inner.steps for inner in (*link.body, *link.orelse)):
            return _flag_of(link)
    return "True"


def _flag_of(choice: Choice) -> str:
    """The flag by which code masks, or does not: a name or an attribute, of which nothing else is asked."""
    alone = len(choice.body) == 1 and not choice.statement.orelse and len(choice.statement.body) == 1
    return (dotted(choice.statement.test) or "") if alone else ""
