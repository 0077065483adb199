"""MHA103: ask ``self.training`` before dropping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.unread import unread
from mha_lint.model.attention import is_module
from mha_lint.rules.dropout_active_in_eval import argument, class_of

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit
    from mha_lint.rules.dropout_active_in_eval import Ungated


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit, at the rate of the attention or at the ``training`` of the dropout."""
    evidence: Ungated = hit.evidence
    receiver = _receiver(evidence.call, context)
    if receiver is None:
        return "it is not in a method of a module, where `self.training` could be asked for: let the caller hand it in"
    training, places = f"{receiver}.training", context.places
    if evidence.attends:
        if evidence.rate is None:
            return "the rate is not written in this call"
        edits: tuple[Edit, ...] = (
            places.replace(evidence.rate, f"{_operand(evidence.rate, places)} if {training} else 0.0"),
        )
        message = f"Drop only where `{training}` is set"
    else:
        edits = _told(evidence.call, training, context)
        message = f"Hand `training={training}` to the dropout"
    return Fix("unsafe", "corrected", message, edits, probes=("eval determinism",), agree="train")


def _receiver(call: cst.Call, context: Context) -> str | None:
    """What the method of a module that the call stands in calls its object; None anywhere else."""
    for parent in context.places.parents(call):
        if isinstance(parent, cst.Lambda):
            return None
        if isinstance(parent, cst.FunctionDef):
            owner = next(context.places.parents(next(context.places.parents(parent))), None)
            cls = class_of(owner, context.model) if isinstance(owner, cst.ClassDef) else None
            bound = parent.params.params and not parent.decorators
            return parent.params.params[0].name.value if cls is not None and is_module(cls) and bound else None
    return None


def _operand(rate: cst.BaseExpression, places: Places) -> str:
    """The rate as it can stand before ``if``; parentheses that are around it will be around all of it."""
    text = places.source(rate)
    return f"({text})" if isinstance(rate, (cst.IfExp, cst.Lambda, cst.NamedExpr)) else text


def _told(call: cst.Call, training: str, context: Context) -> tuple[Edit, ...]:
    """The dropout, told the mode: in the place of what it was told before, or behind its last argument."""
    places = context.places
    flag = argument(call, 2, "training", "train")
    if flag is not None:
        return places.replace(flag, training), *unread(flag, training, context)
    qualified = places.source(call.func)
    name = "train" if qualified in ("torch.dropout",) else "training"
    edits: tuple[Edit, ...] = with_keyword(call, name, training, places)
    return edits
