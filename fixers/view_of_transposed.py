"""MHA001: insert ``.contiguous()`` before ``.view``, or write ``.reshape``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.syntax.nodes import argument
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import ViewSeen
    from mha_lint.rules.base import Hit


def fix(hit: Hit[list[ViewSeen]], context: Context) -> Fix | str:
    """One edit, behind the dot of ``.view``."""
    places, call = context.places, hit.last
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    flagged = places.rows(places.statement(call) or call)
    if context.settings.view_fix == "reshape":
        edit = places.replace(NameOf(call.func), "reshape")
        return Fix("safe", "repaired", "Use `.reshape`, which copies where it must", (edit,), flagged)
    if context.model.names.qualify(call.func) == "torch.Tensor.view":
        tensor = argument(call, 0)
        if tensor is None:
            return "what is viewed is not written as an argument of its own"
        chained = isinstance(tensor, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
        text = places.source(tensor) if chained else f"({places.source(tensor)})"
        edit = places.replace(tensor, f"{text}.contiguous()")
        return Fix("safe", "repaired", "Insert `.contiguous()` before viewing", (edit,), flagged)
    edit = places.call_before(call.func, "contiguous()")
    return Fix("safe", "repaired", "Insert `.contiguous()` before `.view`", (edit,), flagged)
