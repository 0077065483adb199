"""MHA004: delete ``.contiguous()``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit
    from mha_lint.rules.needless_contiguous import Needless


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit: the call, with the white space before its dot; or the statement, where nothing else is in it."""
    needless: Needless = hit.evidence
    places, call = context.places, needless.call
    if needless.reshape is not None and "MHA005" in context.settings.enabled(Path()):
        assert isinstance(needless.reshape.func, cst.Attribute)
        edit = places.replace(needless.reshape.func.attr, "view")
        return Fix("safe", "equivalent", "Use `.view`: the tensor is contiguous", (edit,))
    assert isinstance(call.func, cst.Attribute)
    statement = places.statement(call)
    match statement:
        case cst.SimpleStatementLine(
            body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(target))], value=value)]
        ) if value is call and isinstance(call.func.value, cst.Name) and call.func.value.value == target:
            if len(places.block(statement)) == 1:
                return f"nothing but `{target} = {target}` would be left of the block"
            return Fix("safe", "equivalent", "Delete the statement", (places.without_statement(statement),))
    edit = Edit(places.end_of_receiver(call.func), places.end(call), "")
    return Fix("safe", "equivalent", "Delete `.contiguous()`", (edit,))
