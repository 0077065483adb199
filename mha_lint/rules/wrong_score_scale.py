"""MHA104: scores of queries and keys scaled by something else than the root of a head's width."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.scale import Scale, ScaleSeen, is_inverted, is_right, mistake
from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


class WrongScoreScale(Rule):
    """## What it does

    Flags scores of queries and keys of width d, on their way into a softmax, that are scaled by the root of the
    model's width or of the number of heads, multiplied by the root of d, or of the model's width, where they should
    be divided, divided by the root of d at two places or more, or not scaled at all, although both come straight from
    linear layers of several heads, or from those of a head whose width is named so.

    A scale that is handed to fused attention (`scale=`, `softmax_scale=`) counts, and so does the one that
    `scaled_dot_product_attention` applies by itself. Scores that are added, or laid side by side, are judged apart.

    ## Why it matters

    A product of two vectors of d standard-normal numbers has variance d; divided by the root of d it has variance 1.
    With larger scores the softmax saturates: one key takes all, and hardly a gradient flows. With smaller ones it
    averages everything. The model trains either way, slower and to a worse result.

    ## Example

    ```python
    self.scale = dim ** -0.5                          # the width of the model, not of a head
    ...
    weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
    ```

    Use instead:

    ```python
    self.scale = head_dim ** -0.5
    ```

    ## Fix

    Scales the product by `d ** -0.5`, with the code's own name for d where it has one. It changes the line that sets
    `self.scale` if all that read it need the same, else the line that uses it; a scale that nothing reads any more is
    deleted. Where two places scale, the later one stops: fused attention is given `scale=1.0`, another factor is
    dropped. The fix is *unsafe* because the module computes something else afterwards, on purpose: weights that were
    trained with the other scale expect it. Relation *corrected*: with standard-normal queries and keys, the variance
    of the scores is not 1 before, and is 1 after.

    ## When it stays silent

    - The scale is learned, configured, or anything that this rule does not know to be wrong, such as 1/d (µP).
    - Queries or keys are normalised (cosine attention, QK-norm), or cast to float32 before the product. Where they
      are normalised on some path alone, a scale that multiplies may be meant for that one.
    - Not scaled: a bias is added to the scores (T5 folds the scale into its initialisation), there is one head, or
      queries and keys are not linear maps, with nothing but a change of layout between. A layer that is wrapped, as by
      `spectral_norm`, may scale.
    - Divided by d at one place (µP), or by d^1/4 both in the queries and in the keys.
    - On another path through the code something else scales as well: the two factors belong together.
    - The widths are not known.

    ## References

    - [karpathy/ng-video-lecture#6](https://github.com/karpathy/ng-video-lecture/issues/6),
      [juho-lee/set_transformer#18](https://github.com/juho-lee/set_transformer/issues/18),
      [esceptico/perceiver-io#9](https://github.com/esceptico/perceiver-io/issues/9)
    - Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762), section 3.2.1
    """

    code = "MHA104"
    name = "wrong-score-scale"
    severity = "error"
    finds = (
        "scores scaled by the model's width or the number of heads, multiplied instead of divided, twice, or not at all"
    )
    why = "With the scale d ** -0.5 scores have variance 1; with another the softmax saturates, or averages everything."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim, heads):\n        super().__init__()\n        self.heads = heads\n"
        "        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)\n        self.scale = dim ** -0.5\n\n"
        "    def weights(self, x):\n        b, t, c = x.shape\n"
        "        q = self.query(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)\n"
        "        k = self.key(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)\n"
        "        return (q @ k.transpose(-2, -1) * self.scale).softmax(-1)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("dim ** -0.5", "(dim // heads) ** -0.5"),
        invalid[0].replace("dim ** -0.5", "nn.Parameter(torch.ones(heads, 1, 1))"),
        invalid[0].replace("dim ** -0.5", "1 / (dim // heads)"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[ScaleSeen]]:
        for product, found in model.scales.items():
            for symbol in dict.fromkeys(each.symbol for each in found):
                seen = [each for each in found if each.symbol == symbol]
                told = [(each, what) for each in seen if (what := mistake(each.scale)) is not None]
                if not told or any(is_right(each.scale) for each in seen):
                    continue
                wrong, what = told[0]
                if any(_is_meant(each.scale, wrong.scale) for each in seen):
                    continue
                if is_inverted(wrong.scale) and (product, symbol) in model.normed:
                    continue  # vectors of length 1 need larger scores, and the norm is optional
                at = wrong.caller or wrong.scale.applied or product
                first = at.func if isinstance(at, ast.Call) and at is wrong.caller else at
                yield Hit(first, first, f"scores are {what}", symbol, evidence=wrong)


def _is_meant(scale: Scale, wrong: Scale) -> bool:
    """Tell whether another path, on which a second factor scales too, explains a scale that alone would be wrong."""
    return wrong.whole and not scale.whole and not scale.factor.same(wrong.factor) and mistake(scale) is None
