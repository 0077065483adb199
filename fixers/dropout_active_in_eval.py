"""MHA103: ask ``self.training`` before dropping."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.arguments import with_keyword
from mha_lint.fixers.unread import unread
from mha_lint.model.attention import is_module
from mha_lint.syntax.nodes import FUNCTIONS, argument, parameters, receiver

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.dropout_active_in_eval import Ungated
    from mha_lint.syntax.exact import Exact


def fix(hit: Hit[Ungated], context: Context) -> Fix | str:
    """One edit, at the rate of the attention or at the ``training`` of the dropout."""
    evidence = hit.evidence
    if isinstance(evidence.call.func, ast.Call):
        return "a layer that is made in each call is never in eval mode: make it in the constructor, and call that one"
    owner = _module_around(evidence.call, context)
    if owner is None:
        return "it is not in a method of a module, where `self.training` could be asked for: let the caller hand it in"
    training, places = f"{owner}.training", context.places
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


def _module_around(call: ast.Call, context: Context) -> str | None:
    """Return the name for ``self`` in the module's method that the call stands in; None anywhere else."""
    for parent in context.places.parents(call):
        if isinstance(parent, ast.Lambda):
            return None
        if isinstance(parent, FUNCTIONS):
            cls = context.model.names.class_of(context.places.parent(parent))
            bound = parameters(parent) and not parent.decorator_list
            return receiver(parent) if cls is not None and is_module(cls) and bound else None
    return None


def _operand(rate: ast.expr, places: Exact) -> str:
    """The rate as it can stand before ``if``; parentheses that are around it will be around all of it."""
    text = places.source(rate)
    return f"({text})" if isinstance(rate, (ast.IfExp, ast.Lambda, ast.NamedExpr)) else text


def _told(call: ast.Call, training: str, context: Context) -> tuple[Edit, ...]:
    """The dropout, told the mode: in the place of what it was told before, or behind its last argument."""
    places = context.places
    flag = argument(call, 2, "training", "train")
    if flag is not None:
        return places.replace(flag, training), *unread(flag, training, context)
    qualified = places.source(call.func)
    name = "train" if qualified in ("torch.dropout",) else "training"
    edits: tuple[Edit, ...] = with_keyword(call, name, training, places)
    return edits
