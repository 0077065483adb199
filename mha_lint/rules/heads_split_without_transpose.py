"""MHA102: heads split off across the tokens."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.order import Scramble, split_across
from mha_lint.rules.asking import agreed, is_projection
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import method_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


class HeadsSplitWithoutTranspose(Rule):
    """## What it does

    Flags a projection of shape `(b, t, h*d)` that is viewed or reshaped straight to `(b, h, t, d)` or `(b*h, t, d)`,
    and one of shape `(t, b, h*d)` that is viewed or reshaped straight to `(b*h, t, d)`.

    ## Why it matters

    A view keeps the order of the numbers. The features of one token lie side by side, so the first "head" gets the
    first `t*d` numbers: all the features of the first few tokens, and none of the others. Each head attends among
    pieces of a few tokens. The shapes are right, nothing raises, and the model trains, a good deal worse.

    ## Example

    ```python
    q = self.query(x).view(b, self.num_heads, t, self.head_dim)
    ```

    Use instead:

    ```python
    q = self.query(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
    ```

    ## Fix

    Splits, then transposes. Where the tokens come first, `(t, b, h*d)` is viewed as `(t, b*h, d)`, then transposed. The
    fix is *unsafe* because the module computes something else afterwards, on purpose: weights that were trained with
    the scrambled order must be trained again. Relation *corrected*: before, a change of a later token reaches an
    earlier one through a causal mask, or a permutation of the tokens does more than permute the result, or tokens that
    are all alike become different ones. After, nothing of this happens. With one token, or one head, both compute the
    same.

    ## When it stays silent

    - The features were moved before the tokens first, as in `(b, h*d, t)`, or the tokens stay first: `(t, b*h, d)`.
    - The sizes are not known well enough to tell the order, or there is one token, or one head.
    - A cache was found to be there on the way (`if past is not None`): behind it, new tokens come one by one.
    - What is viewed is not a projection, or has nothing to do with attention.

    ## References

    - [reczoo/FuxiCTR#30](https://github.com/reczoo/FuxiCTR/issues/30)
    """

    code = "MHA102"
    name = "heads-split-without-transpose"
    severity = "error"
    finds = "`(b, t, h*d)` viewed as `(b, h, t, d)`, which scrambles the tokens"
    why = "A view keeps the order of the numbers: each head gets all features of a few tokens, and nothing raises."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim, heads):\n        super().__init__()\n        self.heads = heads\n"
        "        self.query = nn.Linear(dim, dim)\n\n    def split(self, x):\n        b, t, c = x.shape\n"
        "        return self.query(x).view(b, self.heads, t, c // self.heads)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("view(b, self.heads, t, c // self.heads)", "view(b, t, self.heads, -1).transpose(1, 2)"),
        invalid[0].replace("self.query(x).view", "self.query(x).transpose(1, 2).reshape"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Scramble | None]]:
        for node, seen in model.views.items():
            known = [view for view in seen if is_projection(view, model) and not view.one_by_one]
            found = [split_across(view) for view in known]
            if any(found) and isinstance(node, ast.Call):
                where = "" if all(found) else ", on one path through the code"
                message = (
                    f"heads are split off before the tokens, with no transpose: each takes in only a few tokens{where}"
                )
                yield Hit(method_name(node), node, message, seen[0].symbol, evidence=agreed(found, known))
