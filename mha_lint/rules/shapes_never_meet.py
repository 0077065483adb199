"""MHA124: shapes that no sizes bring together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.description import shape_text, size_text
from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import ClashSeen
    from mha_lint.model.sizes import Size
    from mha_lint.syntax.places import Places


class ShapesNeverMeet(Rule):
    """## What it does

    Flags scores and masks, factors of matrix products, and the operands of fused attention whose shapes can't be
    broadcast, or multiplied, whatever the sizes are: a mask (b, t, t) for scores (b * h, t, t). A mask (b, s) or
    (b, t, s) for scores (b, h, t, s), or (b, s) for (b, t, s), is flagged too: its batch meets the tokens, or the
    heads.

    ## Why it matters

    The operation raises as soon as each size is 2 or more. With a batch of one entry it runs, so that a test with one
    sentence passes. Where the batch happens to be as large as the number of heads, each head gets the mask of an
    entry.

    ## Example

    ```python
    scores = torch.einsum("bid,bjd->bij", q, k)  # (b * h, t, t)
    both = mask.view(b, t, 1) & mask.view(b, 1, t)
    scores = scores.masked_fill(~both, float("-inf"))
    ```

    Use instead:

    ```python
    scores = torch.einsum("bid,bjd->bij", q, k)  # (b * h, t, t)
    both = mask.view(b, t, 1) & mask.view(b, 1, t)
    scores = scores.masked_fill(~both.repeat_interleave(h, dim=0), float("-inf"))
    ```

    ## Fix

    There is none: the shapes do not tell which of the two is meant to change.

    ## When it stays silent

    - Two sizes might be alike: they are different names, which nothing ties together.
    - The shape of an operand is not known, on one of the paths that lead there.
    - One of the sizes is 1 in the code, and is broadcast, or is what a slice leaves.
    - The sizes differ by the rows or columns of an image, or by a batch that meets a batch of 1: there may be one.
    - The code expects the error, in a `try`.

    ## References

    - [Broadcasting semantics](https://docs.pytorch.org/docs/stable/notes/broadcasting.html)
    - [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html): a
      mask of three dimensions is (N · num_heads, L, S)
    """

    code = "MHA124"
    name = "shapes-never-meet"
    severity = "error"
    finds = "a mask (b, t, t) for scores (b·h, t, t)"
    why = "It raises as soon as each of the sizes is 2 or more; a batch of one entry may hide it."
    shown_by = ("raises",)
    no_fix = "the shapes do not tell which of the two is meant to change"
    invalid: ClassVar = (
        "import torch\n\n\ndef attend(x, heads, mask):\n    b, t, c = x.shape\n"
        "    q = x.view(b, t, heads, -1).transpose(1, 2).reshape(b * heads, t, -1)\n    s = q @ q.transpose(1, 2)\n"
        "    s = s.masked_fill(mask.view(b, 1, t), float('-inf'))\n    return s.softmax(-1) @ q\n",
    )
    valid: ClassVar = (
        "import torch\n\n\ndef attend(x, heads, mask):\n    b, t, c = x.shape\n"
        "    q = x.view(b, t, heads, -1).transpose(1, 2).reshape(b * heads, t, -1)\n    s = q @ q.transpose(1, 2)\n"
        "    mask = mask.view(b, 1, t).repeat_interleave(heads, 0)\n"
        "    s = s.masked_fill(mask, float('-inf'))\n    return s.softmax(-1) @ q\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for node, seen in model.clashes.items():
            yield Hit(node, node, _message(seen[0]), seen[0].symbol)


def _message(seen: ClashSeen) -> str:
    clash, names = seen.clash, seen.names
    left, right = shape_text(clash.left, names), shape_text(clash.right, names)
    one, other = (_short(size, names) for size in clash.sizes)
    shapes = f"shapes {left} and {right} do not meet"
    if clash.by_luck:
        return f"{shapes}, unless {other} happens to be {one}"
    return f"{shapes}: {one} is never {other} for sizes above 1"


def _short(size: Size, names: Mapping[Size, str]) -> str:
    return f"`{size_text(size, names)}`"
