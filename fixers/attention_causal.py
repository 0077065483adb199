"""The causal mask of attention by hand, where fused attention has a flag for it."""

from __future__ import annotations

from mha_lint.model.by_hand.steps import Added, ByHand, Choice, Filled
from mha_lint.syntax.nodes import dotted


def causal_flag(found: ByHand) -> str:
    """The text of ``is_causal`` for attention whose only mask is the causal one; empty where no flag can say when."""
    mask = next(step for step in found.steps() if isinstance(step, (Added, Filled)))
    for choice in found.choices:
        if any(mask in each.steps for each in choice.links):
            return _flag_of(choice)
    return "True"


def _flag_of(choice: Choice) -> str:
    """The flag by which code masks, or does not: a name or an attribute, of which nothing else is asked."""
    return (dotted(choice.statement.test) or "") if is_only_one(choice) else ""


def is_only_one(choice: Choice) -> bool:
    """Tell whether one statement stands under a condition, and nothing where the condition does not hold."""
    return len(choice.body) == len(choice.statement.body) == 1 and not choice.statement.orelse
