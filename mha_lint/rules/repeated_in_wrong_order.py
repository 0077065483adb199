"""MHA118: masks, windows and memories repeated in another order than that of the heads that they meet."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import method_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OrderSeen
    from mha_lint.syntax.places import Places


class RepeatedInWrongOrder(Rule):
    """## What it does

    Flags a tensor with something for each entry of the batch, a mask, a memory, that is repeated for the heads as a
    whole, (heads, entries), with `.repeat`, `.tile`, `.expand`, `torch.cat` or einops, and then meets scores or queries
    whose first dimension has all heads of the first entry first, (entries, heads); and the reverse.
    `nn.MultiheadAttention` takes a mask of three dimensions as (entries, heads), too.

    ## Why it matters

    Both have as many rows, so nothing raises. Row 1 of the scores is the second head of the first entry, and row 1 of
    the mask is that of the second entry: heads see what other entries may see. With a batch of one it is right, which
    is why tests do not show it.

    ## Example

    ```python
    q = q.view(b, t, heads, -1).transpose(1, 2).reshape(b * heads, t, -1)
    ...
    scores = scores.masked_fill(mask.repeat(heads, 1, 1), float("-inf"))
    ```

    Use instead:

    ```python
    scores = scores.masked_fill(mask.repeat_interleave(heads, dim=0), float("-inf"))
    ```

    ## Fix

    Repeats each entry for the heads, with `repeat_interleave`; the whole with `repeat` where it is the other way round.
    Where a mask is expanded and then merged, the heads come behind the entries; so they do in a pattern of einops. It
    is *unsafe* because the module computes something else afterwards, on purpose. Relation *corrected*: before, what
    comes out for one entry of the batch depends on other entries; after, it does not.

    ## When it stays silent

    - What is repeated is the same for all entries: it was expanded, or repeated, for the batch before.
    - The order of the sizes on the other side is not known.
    - A tensor is repeated as often as it has rows: its rows are laid beside each other, for all pairs of them.
    - What differs is a number of heads or groups: keys and values that are tiled for groups of heads only pair the
      heads in another order, which a model can learn with.

    ## References

    - [ArrowLuo/CLIP4Clip#22](https://github.com/ArrowLuo/CLIP4Clip/issues/22)
    - [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)
    """

    code = "MHA118"
    name = "repeated-in-wrong-order"
    severity = "error"
    finds = "a mask or memory repeated as (heads, entries) that meets (entries, heads)"
    why = "The rows do not belong together: heads use the masks, or the keys, of other entries of the batch."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "def attend(q, k, v, mask, heads):\n    b, t, c = q.shape\n"
        "    q, k, v = (x.view(b, t, heads, -1).transpose(1, 2).reshape(b * heads, t, -1) for x in (q, k, v))\n"
        "    scores = q @ k.transpose(1, 2)\n"
        "    scores = scores.masked_fill(mask.repeat(heads, 1, 1), float('-inf'))\n"
        "    return scores.softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        invalid[0].replace("mask.repeat(heads, 1, 1)", "mask.repeat_interleave(heads, dim=0)"),
        invalid[0].replace("mask.repeat(heads, 1, 1)", "mask.repeat(b * heads, 1, 1)"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[OrderSeen | None]]:
        for node, seen in model.orders.items():
            if isinstance(node, ast.Call):
                ways = {(each.fold.dim, tuple(part.alike for part in each.fold.parts)) for each in seen}
                message = "this is repeated in another order than the rows that it meets: entries get those of others"
                evidence = seen[0] if len(ways) == 1 else None
                yield Hit(method_name(node), node, message, seen[0].symbol, evidence=evidence)
