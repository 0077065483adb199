"""One transfer function for each tensor operation: shapes, strides and roles in, shapes, strides and roles out.

``x.op(y)`` and ``torch.op(x, y)`` are the same function here: the tensor is argument 0. Whatever is not in the
table gives an unknown value. What each operation does to strides was read off torch itself and is held against it
by ``tests/model/test_exactness.py``.
"""

from mha_lint.model.torch_api import joining, parts, pointwise, products, questions, views
from mha_lint.model.torch_api.call import OPERATIONS, expanded, possible
from mha_lint.model.torch_api.parts import unbound
from mha_lint.model.torch_api.pointwise import elementwise
from mha_lint.model.torch_api.products import linear, mapped_roles, mixed
from mha_lint.model.torch_api.questions import dimension, shape_of
from mha_lint.model.torch_api.views import inserted, merged, permuted, resized, without

__all__ = [
    "OPERATIONS",
    "dimension",
    "elementwise",
    "expanded",
    "inserted",
    "joining",
    "linear",
    "mapped_roles",
    "merged",
    "mixed",
    "parts",
    "permuted",
    "pointwise",
    "possible",
    "products",
    "questions",
    "resized",
    "shape_of",
    "unbound",
    "views",
    "without",
]
