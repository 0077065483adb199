"""MHA004: ``.contiguous()`` that has nothing to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


@dataclass(frozen=True, slots=True)
class Needless:
    """The evidence: the call, and the ``.reshape`` right behind it that would copy by itself, if that is why."""

    call: ast.Call
    reshape: ast.Call | None


class NeedlessContiguous(Rule):
    """## What it does

    Flags `.contiguous()` on a tensor that is contiguous on every path through the code, and `.contiguous()` right
    before `.reshape(...)`, which copies by itself where it must.

    ## Why it matters

    Where the tensor is contiguous it costs little, but it claims that the layout needs mending: a reader looks for the
    transpose that isn't there, and copies the habit to places where it does cost a copy. Before `.reshape(...)` the
    copy is made once, with it or without it: where no view is possible, `.reshape` makes it.

    ## Example

    ```python
    q = self.q_proj(x).contiguous().view(b, t, h, d)       # a linear layer's result is contiguous
    y = y.transpose(1, 2).contiguous().reshape(b, t, c)    # reshape copies anyway
    ```

    Use instead:

    ```python
    q = self.q_proj(x).view(b, t, h, d)
    y = y.transpose(1, 2).reshape(b, t, c)
    ```

    ## Fix

    Deletes the call. Relation *equivalent*: the same outputs and gradients to the last bit. (With MHA005 selected,
    which wants the copy to be visible, `.contiguous().reshape` becomes `.contiguous().view`.)

    ## When it stays silent

    - The layout is not proved: inputs and parameters, convolutions (their result is channels-last where their weights
      are), the result of `scaled_dot_product_attention` or of code in another file.
    - A memory format is asked for.
    - `.reshape` would give a view that is not contiguous: later code may need it to be.
    - Helper functions: other callers may pass other tensors.

    ## References

    - [`torch.Tensor.contiguous`](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.contiguous.html),
      [`torch.reshape`](https://docs.pytorch.org/docs/stable/generated/torch.reshape.html)
    """

    code = "MHA004"
    name = "needless-contiguous"
    severity = "info"
    finds = "`.contiguous()` on a tensor proved contiguous, or right before `.reshape()`"
    why = "The code does the same without it, and copies no more: `.reshape()` copies where no view is possible."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, dim, heads):\n"
        "        super().__init__()\n        self.heads = heads\n        self.q = nn.Linear(dim, dim)\n\n"
        "    def forward(self, x):\n        b, t, c = x.shape\n"
        "        return self.q(x).contiguous().view(b, t, self.heads, c // self.heads).transpose(1, 2)\n",
        "def merge(y):\n    b, h, t, d = y.shape\n    return y.transpose(1, 2).contiguous().reshape(b, t, h * d)\n",
    )
    valid: ClassVar = (
        "def merge(y):\n    b, h, t, d = y.shape\n    return y.transpose(1, 2).contiguous().view(b, t, h * d)\n",
        "def own(x):\n    b, t, c = x.shape\n    return x.contiguous().view(b, t * c)\n",
        invalid[0].replace("self.q(x).contiguous()", "self.q(x).transpose(1, 2).contiguous()"),
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
