"""The causal mask of attention by hand, where fused attention has a flag for it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.model.by_hand.steps import Added, ByHand, Choice, Filled
from mha_lint.model.causal_masks import Means, is_just_causal
from mha_lint.model.values import Tensor
from mha_lint.syntax.nodes import dotted

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.values import Value


def causal_flag(found: ByHand, context: Context) -> str:
    """The text of ``is_causal``, where the only mask is the causal one; empty where it is another, or none."""
    masks = [step for step in found.steps() if isinstance(step, (Added, Filled))]
    if len(masks) != 1 or not _is_causal(masks[0], context):
        return ""
    for link in found.links:
        if isinstance(link, Choice) and any(masks[0] in inner.steps for inner in (*link.body, *link.orelse)):
            return _flag_of(link)
    return "True"


def _flag_of(choice: Choice) -> str:
    """The flag by which code masks, or does not: a name or an attribute, of which nothing else is asked."""
    alone = len(choice.body) == 1 and not choice.statement.orelse and len(choice.statement.body) == 1
    return (dotted(choice.statement.test) or "") if alone else ""


def _is_causal(step: Added | Filled, context: Context) -> bool:
    seen = context.model.operations.get(step.node, [])
    return bool(seen) and all(_hides_the_future(step, each) for each in seen)


def _hides_the_future(step: Added | Filled, seen: OperationSeen) -> bool:
    given = _given(step, seen)
    if given is None or not isinstance(given[0], Tensor):
        return False
    scores, mask = given
    return is_just_causal(mask, _means(step), scores.shape if isinstance(scores, Tensor) else None)


def _means(step: Added | Filled) -> Means:
    if isinstance(step, Added):
        return Means.ADDED
    return Means.ATTEND if step.keeps else Means.IGNORE


def _given(step: Added | Filled, seen: OperationSeen) -> tuple[Value, Value] | None:
    """The scores and the mask among the arguments of an operation."""
    if len(seen.args) < 2:
        return None
    first, second = seen.args[:2]
    if isinstance(step, Added):
        is_left = isinstance(step.node, ast.BinOp) and step.term is step.node.left
        return (second, first) if is_left else (first, second)
    if seen.name == "where" and step.condition in step.node.args[:1] and len(seen.args) > 2:
        return (seen.args[1] if step.keeps else seen.args[2]), first
    return first, second
