"""The fixer of ACM001: write the names of the parameters before the arguments."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix

from acme_attention.mask_by_place import TENSORS

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules import Hit

NAMES = ("attn_mask", "dropout_p", "is_causal")  # all others are by name in torch, too


def fix(hit: Hit[ast.Call], context: Context) -> Fix | str:
    """One insertion before each argument that follows the values."""
    arguments = hit.evidence.args[TENSORS:]
    if len(arguments) > len(NAMES):
        return "the call has more arguments than torch takes by place"
    edits = []
    for name, argument in zip(NAMES, arguments, strict=False):
        place = context.places.start(argument)
        edits.append(Edit(place, place, f"{name}="))
    return Fix("safe", "equivalent", "Give it by name", tuple(edits))
