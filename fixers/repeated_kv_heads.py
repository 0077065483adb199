"""MHA205: let fused attention group the heads, and repeat nothing."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.arguments import with_keyword

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.repeated_kv_heads import Repeat, RepeatedHeads
    from mha_lint.syntax.exact import Exact


def fix(hit: Hit[RepeatedHeads], context: Context) -> Fix | str:
    """One more argument, and one edit for the keys and one for the values."""
    evidence, places = hit.evidence, context.places
    deleted = [repeat.statement for repeat in evidence.repeats if _is_idle(repeat, places)]
    branches = {id(branch): branch for statement in deleted if (branch := _emptied(statement, deleted, places))}
    inside = {id(statement) for branch in branches.values() for statement in branch.body}
    edits: list[Edit] = [places.without_statement(branch) for branch in branches.values()]
    for repeat in evidence.repeats:
        statement = repeat.statement
        if statement is None or not _is_idle(repeat, places):
            edits.append(places.replace(repeat.written, places.whole(repeat.tensor)))
        elif id(statement) not in inside:
            if len(places.block(statement)) == 1:
                return "nothing would be left of the block"
            edits.append(places.without_statement(statement))
    edits += with_keyword(evidence.call, "enable_gqa", "True", places)
    message = "Hand over `enable_gqa=True` instead, if `--bench` shows it faster"
    return Fix("safe", "equivalent", message, tuple(edits), only_if_faster=True)


def _is_idle(repeat: Repeat, places: Exact) -> bool:
    """Tell whether a statement says nothing once its tensor is not repeated: ``k = k``."""
    match repeat.statement, repeat.tensor:
        case ast.Assign(targets=[ast.Name(id=target)]) as statement, ast.Name(id=name):
            return target == name and places.stands_alone(statement)
    return False


def _emptied(statement: ast.stmt | None, deleted: list[ast.Assign | None], places: Exact) -> ast.If | None:
    """The branch that holds nothing but what is deleted, and has no ``else``."""
    assert statement is not None
    match places.parent(statement):
        case ast.If(body=body, orelse=[]) as branch if all(each in deleted for each in body):
            block = places.block(branch)
            is_elif = any(isinstance(parent, ast.If) and branch in parent.orelse for parent in places.parents(branch))
            return None if is_elif or len(block) == 1 else branch
    return None
