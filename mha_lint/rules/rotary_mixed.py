"""MHA119: angles laid out in one way, and vectors rotated in another; positions that do not fit a cache of keys."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.rotary import Laid, RotationSeen
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.rotary_behind_cache import MESSAGES, BehindCache, found_in

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places

_TABLE = {
    Laid.HALVES: "by halves, (a, b, …, a, b, …)",
    Laid.NEIGHBOURS: "by neighbours, (a, a, b, b, …)",
}
_PAIRS = {Laid.HALVES: "i and i + d/2", Laid.NEIGHBOURS: "2i and 2i + 1"}


class RotaryMixed(Rule):
    """## What it does

    Flags rotary position embeddings whose two parts do not fit: the angles are laid out by halves, as
    `torch.cat((angles, angles), -1)` does, and the vectors are rotated by neighbours, as with `x[..., ::2]` and
    `x[..., 1::2]`; or the angles are laid out by neighbours, as `repeat_interleave(2, -1)` does, and the vectors are
    rotated by halves.

    It flags positions that do not fit a cache of keys, too. New tokens are rotated at positions that begin at 0, and
    their keys are put behind those of the cache: `torch.arange(t)`, or `cos[:t]`, for whatever is there already, or an
    offset `k.shape[-2] - q.shape[-2]` that is read before the keys of the cache are joined. Or what is kept has been
    rotated, and is rotated again with the new keys in the next call.

    ## Why it matters

    A rotation turns two features by one angle. Where the parts do not fit, the two features of a pair get different
    angles, so that they are not rotated but distorted. Scores then depend on the positions themselves, not on their
    distance, and what the model learns at one place of a sequence does not hold at another. It trains all the same.

    Where positions and cache do not fit, training does not show it, since it needs no cache. Each token that is
    generated then stands at the first position, or the oldest keys have turned the furthest, and the text goes wrong.

    ## Example

    ```python
    angles = torch.outer(positions, inv_freq).repeat_interleave(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    x1, x2 = x.chunk(2, dim=-1)
    x = x * cos + torch.cat((-x2, x1), dim=-1) * sin
    ```

    Use instead:

    ```python
    angles = torch.outer(positions, inv_freq)
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos(), angles.sin()
    x1, x2 = x.chunk(2, dim=-1)
    x = x * cos + torch.cat((-x2, x1), dim=-1) * sin
    ```

    With a cache:

    ```python
    cos, sin = self.cos[:t], self.sin[:t]
    q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
    if past is not None:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
    ```

    Use instead:

    ```python
    offset = past[0].shape[2] if past is not None else 0
    cos, sin = self.cos[offset : offset + t], self.sin[offset : offset + t]
    ```

    ## Fix

    Lays the table out in the way in which the vectors are rotated. The fix is *unsafe* because the module computes
    something else afterwards, on purpose: weights that were trained with the other table expect it. Relation
    *corrected*: before, the score of a rotated query and a rotated key depends on more than the distance of their
    positions; after, it depends on the distance alone.

    With a cache: counts the positions behind the cached keys, reads the offset after the join, or keeps the keys as
    they are before they are rotated. Before, the last token through the cache gives another result than in the whole
    sequence; after, it gives the same. There is no fix where the positions are counted in another function that is
    given no offset, or where the code does not say how many tokens the cache holds; `--verify` still executes it.

    ## When it stays silent

    - Both parts go by halves, or both by neighbours. Either is right.
    - The table holds each angle once: the code multiplies the two parts of the vector by it one by one, or rotates
      complex numbers.
    - The angles are not known to be told by frequencies, a power of a base over an `arange`; or they come from code
      that is not known, as with a `cos` and `sin` that the module is handed.
    - The angles are put together of parts, as those of several axes are, and it is not known how.
    - On another path the same table meets the same rotation, and they fit.
    - The keys are kept as they are before they are rotated, and all of them are rotated once they are joined.
    - The positions, or the tables, are handed in from outside, as `position_ids`, `cache_position`, `start_pos` or
      `cos` and `sin` are, or anything else than the number of new tokens tells them.
    - The cache is an object of a class that is not known, or what is joined is not named as a cache; or nothing that
      the class returns or keeps under such a name holds the keys.
    - Some path through the class puts the positions behind the cache, or not every path was followed.

    ## References

    - [huggingface/transformers#47328](https://github.com/huggingface/transformers/issues/47328)
    - [raiyanyahya/how-to-train-your-gpt#6](https://github.com/raiyanyahya/how-to-train-your-gpt/issues/6)
    - [RobertCsordas/moeut#6](https://github.com/RobertCsordas/moeut/issues/6) and
      [lucidrains/rotary-embedding-torch#11](https://github.com/lucidrains/rotary-embedding-torch/issues/11) (caches)
    - Su et al., [RoFormer](https://arxiv.org/abs/2104.09864), section 3.4.2
    """

    code = "MHA119"
    name = "rotary-mixed"
    severity = "error"
    finds = "rotary angles laid out in another way than vectors rotate, or positions that do not fit a cache of keys"
    why = "Scores then depend on more than the distance of two tokens."
    applicability = "unsafe"
    relation = "corrected"
    shown_by = ("cached equals full", "relative positions")
    invalid: ClassVar = (
        "import torch\n\n\ndef rotate(x, positions):\n    d = x.shape[-1]\n"
        "    angles = torch.outer(positions, 10000 ** (-torch.arange(0, d, 2) / d))\n"
        "    angles = angles.repeat_interleave(2, dim=-1)\n    x1, x2 = x.chunk(2, dim=-1)\n"
        "    return x * angles.cos() + torch.cat((-x2, x1), dim=-1) * angles.sin()\n",
        "import torch\n\n\ndef rotate(x, positions):\n    d = x.shape[-1]\n"
        "    angles = torch.outer(positions, 10000 ** (-torch.arange(0, d, 2) / d))\n"
        "    angles = torch.cat((angles, angles), dim=-1)\n"
        "    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)\n"
        "    return x * angles.cos() + turned * angles.sin()\n",
    )
    valid: ClassVar = (
        invalid[0].replace("angles.repeat_interleave(2, dim=-1)", "torch.cat((angles, angles), dim=-1)"),
        invalid[1].replace("torch.cat((angles, angles), dim=-1)", "angles.repeat_interleave(2, dim=-1)"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[tuple[RotationSeen, ...] | BehindCache]]:
        for slip in found_in(model, places):
            yield Hit(slip.place, slip.place, MESSAGES[slip.slip], slip.symbol, evidence=slip)
        seen = [each for found in model.rotations.values() for each in found]
        fitting = [each for each in seen if not each.mixed]
        fits = {(node, each.symbol) for each in fitting for node in (each.turned.node, each.sines.by)}
        found: dict[ast.expr, list[RotationSeen]] = {}
        for each in seen:
            if each.mixed and not {(each.turned.node, each.symbol), (each.sines.by, each.symbol)} & fits:
                found.setdefault(_place(each, seen, model), []).append(each)
        for place, rotations in found.items():
            first = rotations[0]
            laid, pairs = _TABLE[first.sines.laid], _PAIRS[first.turned.by]
            message = f"angles are laid out {laid}, and the features {pairs} turn by them as a pair"
            yield Hit(place, place, message, first.symbol, evidence=tuple(rotations))


def _place(rotation: RotationSeen, seen: list[RotationSeen], model: FileModel) -> ast.expr:
    """What is flagged: the turned vector, unless another file or another table makes use of it too."""
    turned = rotation.turned.node
    shared = any(each.turned.node is turned and not each.mixed for each in seen)
    return rotation.node if shared or turned in model.abroad else turned
