"""MHA105: softmax over a dimension of the scores that is not the keys'."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import method_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import WeightingSeen
    from mha_lint.syntax.places import Places


class SoftmaxOverWrongDim(Rule):
    """## What it does

    Flags a softmax of attention scores over another dimension than the one along which the weights are then summed
    over the values: the queries', the heads', the batch's. A softmax that names no dimension is flagged where torch
    chooses such a one: the first of 3-D scores, the second of 4-D ones. Which dimension is the keys' is read off the
    product with the values, or off the letters of an einsum: it isn't always the last. Views on the way are followed:
    one may split the dimension that the softmax was over.

    ## Why it matters

    Attention is an average of values. If the softmax is over the queries, the weights of one query sum to anything,
    and its result depends on the other queries, on later ones and on padding too. The shapes are right and the model
    trains.

    ## Example

    ```python
    weights = scores.softmax(dim=1)      # (b, h, q, k): over the heads
    y = weights @ v
    ```

    Use instead:

    ```python
    weights = scores.softmax(dim=-1)
    y = weights @ v
    ```

    ## Fix

    Names the dimension of the keys. It is *unsafe* because the module computes something else afterwards, on purpose.
    Relation *corrected*: before, the weights that some query gives to its values do not sum to one; after, they do.

    ## When it stays silent

    - The weights are normalised again afterwards, as in slot attention, which lets slots compete for inputs, or are
      added up along the keys: rows are assigned to clusters, and each cluster is told how many it got.
    - The same weights are used along two dimensions, one of which the softmax was over.
    - Two softmaxes mirror each other: each is over the dimension along which the weights of the other are used.
    - The softmax is not of a product of queries and keys: linear attention, routing by a learned map.
    - It is not known which dimension is the keys'.

    ## References

    - [labmlai/annotated_deep_learning_paper_implementations#146](https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/146)
    """

    code = "MHA105"
    name = "softmax-over-wrong-dim"
    severity = "error"
    finds = "softmax over another dimension than the one that is summed over the values"
    why = "The weights that a query gives to its values do not sum to one, and depend on the other queries."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "def attend(q, k, v):\n    b, h, t, d = q.shape\n    w = (q @ k.transpose(-2, -1)).softmax(dim=1)\n"
        "    return w @ v\n",
        "import torch\n\n\ndef attend(q, k, v):\n    w = torch.einsum('bihd,bjhd->bijh', q, k).softmax(dim=1)\n"
        "    return torch.einsum('bijh,bjhd->bihd', w, v)\n",
    )
    valid: ClassVar = (
        "import torch\n\n\ndef attend(q, k, v):\n    w = torch.einsum('bihd,bjhd->bijh', q, k).softmax(dim=2)\n"
        "    return torch.einsum('bijh,bjhd->bihd', w, v)\n",
        "def slots(q, k, v):\n    b, n, d = k.shape\n    w = (k @ q.transpose(1, 2)).softmax(dim=-1)\n"
        "    w = w / w.sum(dim=1, keepdim=True)\n    return w.transpose(1, 2) @ v\n",
        "import torch\n\n\ndef both(q, k, v, u):\n    s = torch.einsum('bid,bjd->bij', q, k)\n"
        "    x = torch.einsum('bij,bjd->bid', s.softmax(dim=1), v)\n"
        "    return x, torch.einsum('bij,bid->bjd', s.softmax(dim=2), u)\n",
        "def attend(q, k, v):\n    b, t, d = q.shape\n    w = (k @ q.transpose(1, 2)).softmax(dim=1)\n"
        "    return w.transpose(1, 2) @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[int | None]]:
        everywhere = {
            (use.symbol, use.normalised.dim, use.contracted) for seen in model.weightings.values() for use in seen
        }
        for node, seen in model.weightings.items():
            if any(use.normalised.dim == use.contracted for use in seen) or not isinstance(node, ast.Call):
                continue
            if node in model.counted or any(
                (use.symbol, use.contracted, use.normalised.dim) in everywhere for use in seen
            ):
                continue
            use = seen[0]
            taken = "softmax with no dimension takes" if use.normalised.implicit else "softmax over"
            message = f"{taken} dimension {use.normalised.dim} of scores; their keys lie along {use.contracted}"
            keys = {_before_views(each) for each in seen}
            along = keys.pop() if len(keys) == 1 else None
            yield Hit(method_name(node), node, message, use.symbol, evidence=along)


def _before_views(use: WeightingSeen) -> int:
    """Return where the dimension of the keys lay in the softmax, whose own dimension a view may have split since."""
    behind = use.contracted > use.normalised.dim
    return use.contracted if behind else use.contracted + use.normalised.parts - 1
