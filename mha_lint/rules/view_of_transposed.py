"""MHA001: ``.view`` of a tensor whose memory order cannot express the new shape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.layout import Answer, dense_order
from mha_lint.model.values import Tensor
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import ViewSeen
    from mha_lint.syntax.places import Places


class ViewOfTransposed(Rule):
    """## What it does

    Flags `.view(...)` on a tensor whose dimensions were transposed, permuted, expanded or sliced in such a way that no
    strides can express the new shape, with no `.contiguous()` between. Values are followed across statements,
    reassignments, chained calls, branches and helper methods, of other files of the project too.

    ## Why it matters

    `.view` never copies. Merging the heads back, `(b, t, h, d) -> (b, t, h*d)`, after `transpose(1, 2)` asks for one
    dimension over numbers that are not evenly spaced in memory, and torch raises `RuntimeError: view size is
    not compatible with input tensor's size and stride`. Where the offending path is rare (a fallback without flash
    attention, a long prompt) the crash comes in production.

    ## Example

    ```python
    y = (att @ v).transpose(1, 2).view(b, t, c)
    ```

    Use instead:

    ```python
    y = (att @ v).transpose(1, 2).contiguous().view(b, t, c)
    ```

    ## Fix

    Inserts `.contiguous()` before `.view` (with `view-fix = "reshape"`: writes `.reshape`). Relation *repaired*:
    wherever the code ran before, it computes the same to the last bit, gradients included; where `.view` raised, it
    computes what the code would have with a `.view` that copies.

    ## When it stays silent

    - The view only splits dimensions, or merges only those that still are neighbours in memory.
    - `.contiguous()`, `.reshape()`, `.clone(memory_format=torch.contiguous_format)` or an operation that allocates
      a fresh tensor (a matrix product, a softmax, a linear layer) comes between.
    - The layout is not known: the result of an interpolation (which may be channels-last), or of code in another file.

    The strides of what `scaled_dot_product_attention` gives depend on the kernel that runs. The math kernel lays it out
    as (b, h, t, d), whatever the queries' layout is; the fused ones keep the layout of the queries, or give
    (b, t, h, d). A view that the math kernel's layout can't express is a *warning*: it raises with float64, with
    an additive mask that needs a gradient, on old GPUs, or wherever else no fused kernel runs.

    The answer is for tensors in which no size involved is 1: with one head, or one token, such a view happens to work.
    An input is taken to be contiguous, unless a caller in the file passes another one: code that relies on an input
    in another layout has a finding.

    ## References

    - [`torch.Tensor.view`](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html)
    - `computeStride_impl` in
      [ATen/TensorUtils.cpp](https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/TensorUtils.cpp)
    """

    code = "MHA001"
    name = "view-of-transposed"
    severity = "error"
    finds = "`.view()` on a transposed, permuted, expanded or sliced tensor that no strides can express"
    why = "`.view` never copies: no strides can express this shape, so the call raises a RuntimeError."
    applicability = "safe"
    relation = "repaired"
    invalid: ClassVar = (
        "def f(q, k, v):\n    b, h, t, d = v.shape\n    y = q @ k.transpose(2, 3) @ v\n"
        "    return y.transpose(1, 2).view(b, t, h * d)\n",
    )
    valid: ClassVar = (
        "def f(q, k, v):\n    b, h, t, d = v.shape\n    y = q @ k.transpose(2, 3) @ v\n"
        "    return y.transpose(1, 2).contiguous().view(b, t, h * d)\n",
        "def split(x, w):\n    b, t, c = x.shape\n    y = (x @ w).transpose(1, 2)\n"
        "    return y.view(b, 4, c // 4, t)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[list[ViewSeen]]]:
        for node, seen in model.views.items():
            raising = [view for view in seen if view.answer is Answer.NEVER and not view.copies]
            if raising and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                message = _message(raising, always=len(raising) == len(seen), places=places)
                yield Hit(NameOf(node.func), node, message, raising[0].symbol, evidence=raising)
            in_math = [view for view in seen if view.fails_in_math]
            if in_math and not raising and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = NameOf(node.func)
                yield Hit(first, node, _IN_MATH, in_math[0].symbol, evidence=in_math, severity="warning")


_IN_MATH = (
    "`.view()` of a transposed result of `scaled_dot_product_attention`, with no `.contiguous()` between: it raises "
    "where the math kernel runs, whose result is laid out as (b, h, t, d), or a fused one that keeps this layout"
)


def _message(raising: list[ViewSeen], *, always: bool, places: Places) -> str:
    where = "" if always else ", on one path through the code"
    callers = sorted({places.start(view.caller).row for view in raising if view.caller is not None})
    through = f" (reached from line {', '.join(map(str, callers))})" if callers and not always else ""
    return f"`.view()` of {_disorder(raising[0].tensor)} tensor, with no `.contiguous()` between{where}{through}"


def _disorder(tensor: Tensor) -> str:
    if tensor.shape is None or tensor.strides is None or dense_order(tensor.shape, tensor.strides):
        return "a transposed"
    return "an expanded" if any(not stride.terms for stride in tensor.strides) else "a sliced"
