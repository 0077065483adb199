"""MHA101: heads merged across the tokens that lie between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.order import Scramble, merged_across
from mha_lint.rules.asking import agreed, is_context
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import method_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import ViewSeen
    from mha_lint.syntax.places import Places


class HeadsMergedWithoutTranspose(Rule):
    """## What it does

    Flags the result of an attention of shape `(b, h, t, d)` that is reshaped or viewed to `(b, t, h*d)` although the
    tokens lie between the heads and their features; also `(b*h, t, d)`, and any other order in which the heads are
    not next to their features.

    ## Why it matters

    A reshape keeps the order of the numbers. What becomes "token 0" is the first features of several tokens of the
    first head: the tokens are scrambled, tokens see tokens that a causal mask hides from them, and nothing raises.
    The model still trains, a good deal worse, which is why this survives for years.

    ## Example

    ```python
    y = att @ v                    # (b, h, t, d)
    y = y.reshape(b, t, h * d)
    ```

    Use instead:

    ```python
    y = att @ v
    y = y.transpose(1, 2).reshape(b, t, h * d)
    ```

    ## Fix

    Transposes heads and tokens first. Where the tokens come first in the result, `(t, b, h*d)`, it permutes all three.
    The fix is *unsafe* because the module computes something else afterwards, on purpose: weights that were trained
    with the scrambled order must be trained again. Relation *corrected*: before, a change of a later token reaches an
    earlier one through a causal mask, or a permutation of the tokens does more than permute the result, or tokens that
    are all alike become different ones. After, nothing of this happens. With one token, or one head, both compute the
    same.

    ## When it stays silent

    - The heads were transposed behind the tokens, by any means.
    - The sizes are not known well enough to tell the order, or there is one token, or one head.
    - A cache was found to be there on the way (`if past is not None`): behind it, new tokens come one by one.
    - What is reshaped is not the result of an attention: windows, patches, relative positions.

    ## References

    - [jsbaan/transformer-from-scratch#6](https://github.com/jsbaan/transformer-from-scratch/issues/6)
    - [ajhalthor/Transformer-Neural-Network#8](https://github.com/ajhalthor/Transformer-Neural-Network/issues/8)
    """

    code = "MHA101"
    name = "heads-merged-without-transpose"
    severity = "error"
    finds = "`(b, h, t, d)` reshaped to `(b, t, h*d)`, which scrambles the tokens"
    why = "A reshape keeps the order of the numbers: each token gets features of other tokens, and nothing raises."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "def attend(q, k, v):\n    b, h, t, d = q.shape\n    w = (q @ k.transpose(-2, -1)).softmax(-1)\n"
        "    return (w @ v).reshape(b, t, h * d)\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v):\n    b, h, t, d = q.shape\n    w = (q @ k.transpose(-2, -1)).softmax(-1)\n"
        "    return (w @ v).transpose(1, 2).reshape(b, t, h * d)\n",
        "def attend(q, k, v):\n    b, h, t, d = q.shape\n    w = (q @ k.transpose(-2, -1)).softmax(-1)\n"
        "    return (w @ v).reshape(b * h, t, d)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Scramble | None]]:
        for node, seen in model.views.items():
            known = [view for view in seen if is_context(view) and not _is_meant(view)]
            found = [merged_across(view) for view in known]
            if any(found) and isinstance(node, ast.Call) and node not in model.put_back:
                where = "" if all(found) else ", on one path through the code"
                message = f"heads are merged across the tokens that lie between them, with no transpose{where}"
                yield Hit(method_name(node), node, message, seen[0].symbol, evidence=agreed(found, known))


def _is_meant(view: ViewSeen) -> bool:
    """Tell whether heads and tokens were swapped before, on purpose, or there is one token as a rule."""
    return "swapped" in view.tensor.roles or view.one_by_one
