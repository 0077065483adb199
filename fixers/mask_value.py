"""What scores are filled with where they are masked: a number that masks them in every dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
import libcst.matchers as m

from mha_lint.model.marks import ONES, ZERO, Mask
from mha_lint.model.names import dotted
from mha_lint.model.values import Tensor

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.filling import Filling
    from mha_lint.model.paths import OperationSeen

INFINITE = 'float("-inf")'
_IN_SINGLE = m.Call(func=m.Attribute(attr=m.Name("float")), args=[])  # scores.float()


def masking_value(filling: Filling, seen: list[OperationSeen], context: Context) -> str | None:
    """The smallest number of the scores' dtype, or minus infinity behind a causal mask; None where neither can be told.

    The causal mask leaves each query a key: its own. Behind another, a row may be masked as a whole, and become NaN.
    """
    torch = next((name for name, full in context.model.names.imports.items() if full == "torch"), None)
    scores = dotted(filling.scores)
    if scores is not None and torch is not None:
        return f"{torch}.finfo({scores}.dtype).min"
    if torch is not None and m.matches(filling.scores, _IN_SINGLE):
        return f"{torch}.finfo({torch}.float32).min"
    return INFINITE if seen and all(is_causal(operation) for operation in seen) else None


def is_causal(operation: OperationSeen) -> bool:
    """Whether a fill is of the future and of nothing else, in scores that nothing else masks."""
    mask = operation.argument(1, "mask")
    known = mask.mask if isinstance(mask, Tensor) else None
    scores = operation.args[0] if operation.args else None
    alone = isinstance(scores, Tensor) and not scores.masked
    return alone and isinstance(known, Mask) and known.diagonal == 0 and known.inside == ZERO and known.outside == ONES


def why_not(filling: Filling, context: Context) -> str:
    """Why no value can be written."""
    if not isinstance(filling.scores, (cst.Name, cst.Attribute)):
        return "the scores have no name there whose dtype could be asked"
    return "`torch` itself is not imported, whose `finfo` knows the dtype's smallest number"
