"""MHA001: insert ``.contiguous()`` before ``.view``, or write ``.reshape``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit, behind the dot of ``.view``."""
    places, call = context.places, hit.last
    assert isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute)
    flagged = places.rows(places.statement(call) or call)
    if context.settings.view_fix == "reshape":
        edit = places.replace(call.func.attr, "reshape")
        return Fix("safe", "repaired", "Use `.reshape`, which copies where it must", (edit,), flagged)
    if context.model.names.qualify(call.func) == "torch.Tensor.view":
        tensor = call.args[0].value
        chained = isinstance(tensor, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
        text = places.source(tensor) if chained else f"({places.source(tensor)})"
        edit = places.replace(tensor, f"{text}.contiguous()")
        return Fix("safe", "repaired", "Insert `.contiguous()` before viewing", (edit,), flagged)
    edit = places.call_before(call.func, "contiguous()")
    return Fix("safe", "repaired", "Insert `.contiguous()` before `.view`", (edit,), flagged)
