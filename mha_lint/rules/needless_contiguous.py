"""MHA004: ``.contiguous()`` that has nothing to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.sizes import ONE, ZERO
from mha_lint.model.values import NONE, Tensor, Value
from mha_lint.rules.asking import reads_alone
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument, walk
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import ContiguousSeen
    from mha_lint.syntax.places import Places


class Needless(Struct, frozen=True):
    """The evidence: the call, and the ``.reshape`` right behind it that would copy by itself, if that is why."""

    call: ast.Call
    reshape: ast.Call | None


class NeedlessContiguous(Rule):
    """## What it does

    Flags `.contiguous()` on a tensor that is contiguous on every path through the code, and `.contiguous()` right
    before `.reshape(...)`, which copies by itself where it must. It also flags `.contiguous()` of keys and values that
    are handed to `scaled_dot_product_attention` and to nothing else, where the last dimension is dense already.

    ## Why it matters

    Where the tensor is contiguous it costs little, but it claims that the layout needs mending: a reader looks for the
    transpose that isn't there, and copies the habit to places where it does cost a copy. Before `.reshape(...)` the
    copy is made once, with it or without it: where no view is possible, `.reshape` makes it. The kernels of fused
    attention take keys and values in any strides, if the last one is 1: a transposed projection needs no copy.

    ## Example

    ```python
    q = self.q_proj(x).contiguous().view(b, t, h, d)       # a linear layer's result is contiguous
    y = y.transpose(1, 2).contiguous().reshape(b, t, c)    # reshape copies anyway
    k = k.view(b, t, h, d).transpose(1, 2).contiguous()    # (b, h, t, d) for fused attention: d is dense
    ```

    Use instead:

    ```python
    q = self.q_proj(x).view(b, t, h, d)
    y = y.transpose(1, 2).reshape(b, t, c)
    k = k.view(b, t, h, d).transpose(1, 2)
    ```

    ## Fix

    Deletes the call. Relation *equivalent*: the same outputs and gradients to the last bit. (With MHA005 selected,
    which wants the copy to be visible, `.contiguous().reshape` becomes `.contiguous().view`.) Before fused attention
    the results agree within the rounding of the dtype: the math kernel may multiply in another order.

    ## When it stays silent

    - The layout is not proved: inputs and parameters, convolutions (their result is channels-last where their weights
      are), the result of `scaled_dot_product_attention` or of code in another file.
    - A memory format is asked for.
    - Before fused attention: queries, because the result is laid out as they are, and a view of it may depend on that;
      heads that were expanded, because a copy of them may be meant; what something else reads too; a call with a mask,
      with which the memory-efficient kernel of torch 2.1 went wrong unless all were contiguous.
    - `.reshape` would give a view that is not contiguous: later code may need it to be.
    - Helper functions: other callers may pass other tensors.

    ## References

    - [pytorch/pytorch#112577](https://github.com/pytorch/pytorch/issues/112577): strides and masks in torch 2.1
    - [`torch.Tensor.contiguous`](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.contiguous.html),
      [`torch.reshape`](https://docs.pytorch.org/docs/stable/generated/torch.reshape.html)
    """

    code = "MHA004"
    name = "needless-contiguous"
    severity = "info"
    needless = True
    finds = "`.contiguous()` on a tensor proved contiguous, right before `.reshape()`, or of keys for fused attention"
    why = "The code does the same without it, and copies no more: `.reshape()` copies where no view is possible."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, dim, heads):\n"
        "        super().__init__()\n        self.heads = heads\n        self.q = nn.Linear(dim, dim)\n\n"
        "    def forward(self, x):\n        b, t, c = x.shape\n"
        "        return self.q(x).contiguous().view(b, t, self.heads, c // self.heads).transpose(1, 2)\n",
        "def merge(y):\n    b, h, t, d = y.shape\n    return y.transpose(1, 2).contiguous().reshape(b, t, h * d)\n",
        "import torch.nn.functional as F\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim, heads):\n        super().__init__()\n        self.heads = heads\n"
        "        self.k = nn.Linear(dim, dim)\n\n    def forward(self, q, x):\n        b, t, c = x.shape\n"
        "        k = self.k(x).view(b, t, self.heads, c // self.heads).transpose(1, 2).contiguous()\n"
        "        return F.scaled_dot_product_attention(q, k, q)\n",
    )
    valid: ClassVar = (
        "def merge(y):\n    b, h, t, d = y.shape\n    return y.transpose(1, 2).contiguous().view(b, t, h * d)\n",
        "def own(x):\n    b, t, c = x.shape\n    return x.contiguous().view(b, t * c)\n",
        invalid[0].replace("self.q(x).contiguous()", "self.q(x).transpose(1, 2).contiguous()"),
        invalid[2].replace("(q, k, q)", "(k, q, q)"),
        invalid[2].replace("(q, k, q)", "(q, k, q), k"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Needless]]:
        behind = {call.func.value: call for call in model.reshapes if isinstance(call.func, ast.Attribute)}
        for node, seen in model.copies.items():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)) or node.args or node.keywords:
                continue
            symbol = min(each.symbol for each in seen)
            alone = any(each.caller is None for each in seen)  # what is handed in by others was unknown as well
            if alone and all(each.needless for each in seen):
                message = "`.contiguous()` of a tensor that is contiguous"
                yield Hit(NameOf(node.func), node, message, symbol, evidence=Needless(node, None))
                continue
            reshape = behind.get(node)
            if reshape is None or reshape in model.would_stay_views:
                continue
            message = "`.contiguous()` right before `.reshape()`, which copies where it must"
            yield Hit(NameOf(node.func), node, message, symbol, evidence=Needless(node, reshape))
        yield from _for_fused_attention(model, places)


def _for_fused_attention(model: FileModel, places: Places) -> Iterator[Hit[Needless]]:
    """Yield the hits at copies of keys and values that only fused attention reads."""
    told: set[ast.Call] = set()
    for node, seen in model.operations.items():
        if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention":
            continue
        if not all(each.argument(3, "attn_mask") in (None, NONE) for each in seen):
            continue  # in torch 2.1 the memory-efficient kernel was wrong about other strides with a mask
        for index, name in ((1, "key"), (2, "value")):
            handed = argument(node, index, name)
            alone = any(each.caller is None for each in seen)  # what is handed in by others was unknown as well
            if handed is None or not alone or not all(_was_dense(each.argument(index, name)) for each in seen):
                continue
            call = _copy(handed, places)
            if call is None or call in told or _is_told(model.copies.get(call, [])):
                continue
            told.add(call)
            message = "`.contiguous()` of what fused attention takes in any strides: the last dimension is dense"
            assert isinstance(call.func, ast.Attribute)
            yield Hit(NameOf(call.func), call, message, seen[0].symbol, evidence=Needless(call, None))


def _was_dense(value: Value | None) -> bool:
    """Tell whether the last stride was 1 before the copy, and no dimension was expanded."""
    if not isinstance(value, Tensor) or value.uncopied is None:
        return False
    return value.uncopied[-1] == ONE and all(stride is not None and stride != ZERO for stride in value.uncopied)


def _copy(handed: ast.expr, places: Places) -> ast.Call | None:
    """The `.contiguous()` that gives what is handed over, which nothing else reads."""
    if not isinstance(handed, ast.Name):
        return handed if isinstance(handed, ast.Call) and _is_copy(handed) else None
    function = places.function(handed)
    if function is None:
        return None
    found: list[ast.Call] = []
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if name == handed.id:
                if _is_copy(call) and reads_alone(handed, node, places):
                    found.append(call)
    return found[0] if len(found) == 1 else None


def _is_copy(call: ast.Call) -> bool:
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr == "contiguous"
    return is_method and not call.args and not call.keywords


def _is_told(seen: list[ContiguousSeen]) -> bool:
    """Tell whether the tensor is contiguous anyway, which is another finding."""
    return bool(seen) and all(each.needless for each in seen)
