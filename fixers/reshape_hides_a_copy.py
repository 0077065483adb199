"""MHA005: write ``.contiguous().view`` where ``.reshape`` copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit, behind the dot of ``.reshape``; a chain with one call a line gets another line."""
    places, call = context.places, hit.last
    assert isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute)
    if any(arg.keyword is not None for arg in call.args):
        return "`.view` does not take its shape by that keyword"
    gap = places.between(call.func.value, call.func.attr).rpartition(".")[0].rpartition(")")[2]
    own_line = gap if "\n" in gap and "#" not in gap else ""
    edit = places.replace(call.func.attr, f"contiguous(){own_line}.view")
    return Fix("safe", "equivalent", "Use `.contiguous().view`, which shows the copy", (edit,))
