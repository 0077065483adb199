"""Choose the number that masked scores are filled with: one that masks them in every dtype."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mha_lint.model.marks import ONES, ZERO, Mask
from mha_lint.model.values import Tensor
from mha_lint.syntax.nodes import dotted

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.filling import Filling

INFINITE = 'float("-inf")'


def masking_value(filling: Filling, seen: Sequence[OperationSeen], context: Context) -> str | None:
    """The smallest number of the scores' dtype, or minus infinity behind a causal mask; None where neither can be told.

    The causal mask leaves each query a key: its own. Behind another, a row may be masked as a whole, and become NaN.
    """
    torch = next((name for name, full in context.model.names.imports.items() if full == "torch"), None)
    scores = dotted(filling.scores)
    if scores is not None and torch is not None:
        return f"{torch}.finfo({scores}.dtype).min"
    if torch is not None and _is_single(filling.scores):
        return f"{torch}.finfo({torch}.float32).min"
    return INFINITE if seen and all(is_causal(operation) for operation in seen) else None


def _is_single(scores: ast.expr) -> bool:
    """Scores are written as ``scores.float()``."""
    match scores:
        case ast.Call(func=ast.Attribute(attr="float"), args=[], keywords=[]):
            return True
        case _:
            return False


def is_causal(operation: OperationSeen) -> bool:
    """A fill is of the future and of nothing else, in scores that nothing else masks."""
    mask = operation.argument(1, "mask")
    known = mask.mask if isinstance(mask, Tensor) else None
    scores = operation.args[0] if operation.args else None
    alone = isinstance(scores, Tensor) and not scores.masked
    return alone and isinstance(known, Mask) and known.diagonal == 0 and known.inside == ZERO and known.outside == ONES


def why_not(filling: Filling, context: Context) -> str:
    """Why no value can be written."""
    if not isinstance(filling.scores, (ast.Name, ast.Attribute)):
        return "the scores have no name there whose dtype could be asked"
    return "`torch` itself is not imported, whose `finfo` knows the dtype's smallest number"
