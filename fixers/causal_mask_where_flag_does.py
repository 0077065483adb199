"""MHA203: the causal flag in place of the mask, and what was computed for the mask alone goes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Applicability, Edit, Fix
from mha_lint.fixers.arguments import with_keyword, without_argument
from mha_lint.fixers.unread import unread
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.causal_mask_where_flag_does import CausalMask
    from mha_lint.syntax.exact import Exact

_FLAG = "is_causal=True"


def fix(hit: Hit[CausalMask], context: Context) -> Fix | str:
    """The flag where the mask stood; or `None` there, and the flag behind, where the mask has a place among others."""
    call, mask = hit.evidence.call, hit.evidence.mask
    edits = _with_flag(call, mask, context.places)
    if edits is None:
        return "the causal flag is given by a name, whose value other code may choose"
    edits = (*edits, *unread(mask, "", context))
    safety: Applicability = "unsafe" if hit.evidence.drops else "safe"
    return Fix(safety, "equivalent", f"Say `{_FLAG}`", edits)


def _with_flag(call: ast.Call, mask: ast.expr, places: Exact) -> tuple[Edit, ...] | None:
    flag = argument(call, 5, "is_causal")
    if flag is not None and not isinstance(flag, ast.Constant):
        return None
    keyword = next((each for each in call.keywords if each.value is mask), None)
    if flag is not None:
        said = places.replace(flag, "True")
        gone = _replaced(mask, "None", places) if keyword is None else without_argument(call, keyword, places)
        return gone, said
    if keyword is not None:
        return (_replaced(keyword, _FLAG, places),)
    if call.args[-1] is mask:
        return (_replaced(mask, _FLAG, places),)
    return _replaced(mask, "None", places), *with_keyword(call, "is_causal", "True", places)


def _replaced(node: ast.expr | ast.keyword, content: str, places: Exact) -> Edit:
    return Edit(places.start_of_whole(node), places.end_of_whole(node), content)
