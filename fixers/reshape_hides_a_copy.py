"""MHA005: write ``.contiguous().view`` where ``.reshape`` copies."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit


def fix(hit: Hit[None], context: Context) -> Fix | str:
    """One edit, behind the dot of ``.reshape``; a chain with one call a line gets another line."""
    places, call = context.places, hit.last
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    if call.keywords:
        return "`.view` does not take its shape by that keyword"
    name = NameOf(call.func)
    gap = places.between(call.func.value, name).rpartition(".")[0].rpartition(")")[2]
    own_line = gap if "\n" in gap and "#" not in gap else ""
    edit = places.replace(name, f"contiguous(){own_line}.view")
    return Fix("safe", "equivalent", "Use `.contiguous().view`, which shows the copy", (edit,))
