"""MHA004: delete ``.contiguous()``."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.syntax.nodes import dotted
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.needless_contiguous import Needless


def fix(hit: Hit[Needless], context: Context) -> Fix | str:
    """One edit: the call, with the white space before its dot; or the statement, where nothing else is in it."""
    needless = hit.evidence
    places, call = context.places, needless.call
    if needless.reshape is not None and "MHA005" in context.settings.enabled(Path()):
        edit = places.replace(NameOf(needless.reshape.func), "view")
        return Fix("safe", "equivalent", "Use `.view`: the tensor is contiguous", (edit,))
    assert isinstance(call.func, ast.Attribute)
    statement = places.statement(call)
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value) if (
            value is call and dotted(call.func.value) == target and places.stands_alone(statement)
        ):
            if len(places.block(statement)) == 1:
                return f"nothing but `{target} = {target}` would be left of the block"
            return Fix("safe", "equivalent", "Delete the statement", (places.without_statement(statement),))
    edit = Edit(places.end_of_receiver(call.func), places.end(call), "")
    return Fix("safe", "equivalent", "Delete `.contiguous()`", (edit,))
