"""MHA005: ``.reshape`` that always copies."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.layout import Answer
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


class ReshapeHidesACopy(Rule):
    """## What it does

    Flags `.reshape(...)` of a tensor that was transposed, permuted, expanded or sliced so that no strides can express
    the new shape: on every path it copies.

    ## Why it matters

    `.reshape` gives a view where it can and a copy where it must, and its text does not say which. Where each copy of
    an activation counts, `.contiguous().view(...)` shows it, and turns a change that adds another into an error. A
    matter of taste: select it with `--extend-select MHA005`.

    ## Example

    ```python
    y = (att @ v).transpose(1, 2).reshape(b, t, c)
    ```

    Use instead:

    ```python
    y = (att @ v).transpose(1, 2).contiguous().view(b, t, c)
    ```

    ## Fix

    Writes `.contiguous().view`. Relation *equivalent*: the same outputs and gradients to the last bit.

    ## When it stays silent

    - On some path the reshape gives a view, or the layout is not known there.
    - The function form, `torch.reshape(y, shape)`.

    ## References

    - [`torch.reshape`](https://docs.pytorch.org/docs/stable/generated/torch.reshape.html)
    """

    code = "MHA005"
    name = "reshape-hides-a-copy"
    severity = "info"
    finds = "`.reshape()` that copies on every path"
    why = "`.reshape` copies here on every path; `.contiguous().view` says so."
    default = False
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "def merge(y):\n    b, h, t, d = y.contiguous().shape\n    y = y.contiguous()\n"
        "    return y.transpose(1, 2).reshape(b, t, h * d)\n",
    )
    valid: ClassVar = (
        "def merge(y):\n    b, h, t, d = y.shape\n    return y.transpose(1, 2).contiguous().view(b, t, h * d)\n",
        "def split(x):\n    b, t, c = x.shape\n    return x.contiguous().transpose(1, 2).reshape(b, 4, c // 4, t)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for node, seen in model.views.items():
            if not all(view.copies and view.answer is Answer.NEVER for view in seen):
                continue
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reshape":
                if model.names.qualify(node.func) is not None:
                    continue
                message = "`.reshape()` of a tensor that no view can express: it copies"
                yield Hit(NameOf(node.func), node, message, seen[0].symbol)
