"""MHA113: make the mask boolean."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.mask_value import INFINITE

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.number_mask_is_added import Added

PROBES = ("causality", "masked key")
_PLAIN = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


def fix(hit: Hit[Added], context: Context) -> Fix | str:
    """One edit: the mask, compared with 0."""
    evidence = hit.evidence
    if evidence.elsewhere:
        return "the mask is used in another file, which says there what a 1 means"
    if evidence.right is None:
        return "the code does not tell whether 1 marks the keys to attend to, or those to leave out"
    if evidence.scores is not None:
        return _filled(evidence, evidence.scores, hit, context)
    places, mask = context.places, evidence.mask
    text = places.source(mask)
    if not isinstance(mask, _PLAIN):
        text = f"({text})"
    content = f"{text}.bool()" if evidence.right else f"{text} == 0"
    flagged = places.rows(places.statement(mask) or mask)
    edit = places.replace(mask, content)
    return Fix("unsafe", "corrected", f"Make the mask boolean: `{content}`", (edit,), flagged, probes=PROBES)


def _filled(evidence: Added, scores: ast.expr, hit: Hit[Added], context: Context) -> Fix | str:
    """One edit: ``scores + mask`` becomes ``scores.masked_fill(mask == 0, …)``."""
    places, mask = context.places, evidence.mask
    torch = next((name for name, full in context.model.names.imports.items() if full == "torch"), None)
    named = isinstance(scores, (ast.Name, ast.Attribute))
    if not (named and torch is not None) and not evidence.causal:
        return "the scores have no name there whose dtype could be asked for the number that masks them"
    of = places.source(scores)
    value = f"{torch}.finfo({of}.dtype).min" if named and torch is not None else INFINITE
    written = places.source(mask) if isinstance(mask, _PLAIN) else f"({places.source(mask)})"
    if evidence.right:
        hidden = written if evidence.boolean else f"{written}.bool()"
    else:
        hidden = f"~{written}" if evidence.boolean else f"{written} == 0"
    content = f"{of if isinstance(scores, _PLAIN) else f'({of})'}.masked_fill({hidden}, {value})"
    if isinstance(mask, ast.Compare) and evidence.right:
        content = content.replace(f"fill({written},", f"fill({places.source(mask)},")
    sum_of = hit.first
    assert isinstance(sum_of, ast.expr)
    edit = places.replace(sum_of, content)
    flagged = places.rows(places.statement(mask) or mask)
    return Fix("unsafe", "corrected", f"Fill the masked scores: `{content}`", (edit,), flagged, probes=PROBES)
