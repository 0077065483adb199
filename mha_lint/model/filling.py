"""Find where scores are filled at masked entries: ``masked_fill``, ``where``, ``scores[mask] = value``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.model.marks import YES_OR_NO
from mha_lint.model.values import Tensor
from mha_lint.syntax.nodes import argument, is_number

if TYPE_CHECKING:
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.marks import Masking
    from mha_lint.model.values import Value
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places


class Filling(Struct, frozen=True):
    """The expressions of one fill. ``kept`` says that the mask is of the entries that keep their scores."""

    scores: ast.expr
    mask: ast.expr
    value: ast.expr
    kept: bool = False


def filling(node: ast.AST, names: ModuleNames, places: Places) -> Filling | None:
    """The parts of a fill; None where they are not all written there."""
    match node:
        case ast.Subscript(value=scores, slice=mask) if not isinstance(mask, (ast.Slice, ast.Tuple)):
            assigned = next((parent for parent in places.parents(node) if isinstance(parent, ast.Assign)), None)
            return None if assigned is None else Filling(scores, mask, assigned.value)
        case ast.Call(func=function):
            qualified = names.qualify(function)
            name = function.attr if isinstance(function, ast.Attribute) else (qualified or "").rpartition(".")[2]
            owner = function.value if isinstance(function, ast.Attribute) and qualified is None else None
            shift = 0 if owner is None else 1
            if name.startswith("masked_fill"):
                of = owner or argument(node, 0, "input")
                where, number = argument(node, 1 - shift, "mask"), argument(node, 2 - shift, "value")
                return Filling(of, where, number) if of and where and number else None
            if name == "where":
                condition = argument(node, 0, "condition")
                yes, no = owner or argument(node, 1, "input"), argument(node, 2 - shift, "other")
                if not (condition and yes and no):
                    return None
                numeric = is_number(yes) or isinstance(yes, ast.UnaryOp)
                return Filling(no, condition, yes) if numeric else Filling(yes, condition, no, kept=True)
    return None


def softmaxed(operations: Iterable[OperationSeen]) -> set[ast.expr]:
    """The places that mask scores which come to a softmax: fills, sums and products."""
    nodes = (masking.node for together in _normalised(operations) for masking in together if masking.kind != "mask")
    return {node for node in nodes if node is not None}


def filled_masks(operations: Iterable[OperationSeen]) -> set[ast.expr]:
    """The places that fill masks which are added to scores, by the code or by the attention that is given them."""
    found: set[ast.expr | None] = set()
    for operation in operations:
        match operation.name:
            case "softmax":
                added = {masking for masking in _masked(operation.argument(0, "input")) if masking.kind == "mask"}
            case "scaled_dot_product_attention":
                added = _masked(operation.argument(3, "attn_mask"))
            case "multi_head_attention":
                added = _masked(operation.argument(5, "attn_mask")) | _masked(operation.argument(3, "key_padding_mask"))
            case _:
                continue
        found |= {masking.node for masking in added if masking.kind in ("fill", "mask")}
    return {node for node in found if node is not None}


def added_masks(operations: Iterable[OperationSeen]) -> list[ast.expr]:
    """The places that add a mask of zeros and ones to scores which come to a softmax, on each path."""
    found: dict[ast.expr, bool] = {}
    for together in _normalised(operations):
        for masking in together:
            if masking.kind == "add" and masking.node is not None:
                found[masking.node] = found.get(masking.node, True) and masking.numbers == YES_OR_NO
    return [node for node, always in found.items() if always]


def masked_beside(operations: Iterable[OperationSeen], node: ast.AST) -> set[Masking]:
    """In which other ways the scores are masked that ``node`` masks, where they come to a softmax."""
    found: set[Masking] = set()
    for together in _normalised(operations):
        if any(masking.node is node for masking in together):
            found |= {masking for masking in together if masking.node is not node}
    return found


def _normalised(operations: Iterable[OperationSeen]) -> Iterator[frozenset[Masking]]:
    """Masks of the scores that each softmax is given."""
    for operation in operations:
        if operation.name == "softmax" and operation.args and isinstance(operation.args[0], Tensor):
            yield operation.args[0].masked


def _masked(value: Value | None) -> set[Masking]:
    return set(value.masked) if isinstance(value, Tensor) else set()
