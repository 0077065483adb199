"""MHA106: invert the mask where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Fix

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit
    from mha_lint.rules.mask_polarity_inverted import Inverted

_OPPOSITE: dict[type[cst.BaseCompOp], str] = {
    cst.Equal: "!=",
    cst.NotEqual: "==",
    cst.LessThan: ">=",
    cst.LessThanEqual: ">",
    cst.GreaterThan: "<=",
    cst.GreaterThanEqual: "<",
}
PROBES = ("causality",)


def fix(hit: Hit, context: Context) -> Fix | str:
    """One edit: the mask, inverted."""
    evidence: Inverted = hit.evidence
    if evidence.mask is None:
        return "the mask is not inverted there, but where it is made"
    if not evidence.always:
        return "the mask is right on another path through the code"
    places = context.places
    content = inverted(evidence.mask, places, boolean=evidence.boolean)
    flagged = places.rows(places.statement(evidence.mask) or evidence.mask)
    edit = places.replace(evidence.mask, content)
    return Fix("unsafe", "corrected", f"Invert the mask: `{content}`", (edit,), flagged, probes=PROBES)


def inverted(mask: cst.BaseExpression, places: Places, *, boolean: bool) -> str:
    """The opposite of a mask, as short as it can be written."""
    match mask:
        case cst.UnaryOperation(operator=cst.BitInvert(), expression=inner):
            whole: str = places.whole(inner)
            return whole if "\n" in whole else places.source(inner)
        case cst.Comparison(left=left, comparisons=[cst.ComparisonTarget(operator=sign, comparator=right)]):
            if type(sign) in _OPPOSITE:
                return f"{places.whole(left)} {_OPPOSITE[type(sign)]} {places.whole(right)}"
    text = places.source(mask)
    plain = isinstance(mask, (cst.Name, cst.Attribute, cst.Call, cst.Subscript))
    if not boolean:
        return f"{text} == 0" if plain else f"({text}) == 0"
    return f"~{text}" if plain else f"~({text})"
