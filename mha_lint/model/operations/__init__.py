"""This package describes torch's operations: one row each, in ``table.py``, and the transfer functions that rows name.

``x.op(y)`` and ``torch.op(x, y)`` are the same operation here: the tensor is argument 0. Whatever is not in the
table gives an unknown value. What each operation does to strides was read off torch itself and is held against it
by ``tests/model/test_exactness.py``.
"""

from mha_lint.model.operations.arguments import expanded
from mha_lint.model.operations.dims import inserted, resized, without
from mha_lint.model.operations.fused_attention import fused
from mha_lint.model.operations.linear_maps import linear, mapped_roles, mixed
from mha_lint.model.operations.moves import permuted
from mha_lint.model.operations.op import Op, applied, computed, possible, told
from mha_lint.model.operations.open import opened
from mha_lint.model.operations.parts import unbound
from mha_lint.model.operations.pointwise import elementwise
from mha_lint.model.operations.questions import dimension, shape_of
from mha_lint.model.operations.table import (
    ATTRIBUTES,
    BY_SIGN,
    OPERATIONS,
    ROWS,
    TABLE,
    asks_another,
    asks_sizes,
    casts,
    copies,
    copies_alike,
    reshapes,
    swaps,
)
from mha_lint.model.operations.views import laid_anew, merged

__all__ = [
    "ATTRIBUTES",
    "BY_SIGN",
    "OPERATIONS",
    "ROWS",
    "TABLE",
    "Op",
    "applied",
    "asks_another",
    "asks_sizes",
    "casts",
    "computed",
    "copies",
    "copies_alike",
    "dimension",
    "elementwise",
    "expanded",
    "fused",
    "inserted",
    "laid_anew",
    "linear",
    "mapped_roles",
    "merged",
    "mixed",
    "opened",
    "permuted",
    "possible",
    "reshapes",
    "resized",
    "shape_of",
    "swaps",
    "told",
    "unbound",
    "without",
]
