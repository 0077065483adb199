"""MHA107: attention weights that are masked, of scores that are not, and masked scores that no softmax sees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.values import Sequence, Tensor
from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.marks import Masking
    from mha_lint.syntax.places import Places

HUGE = 1e4  # what is filled with this is masked, if a softmax follows
_PRODUCTS = frozenset({"matmul", "bmm", "einsum"})


class MaskAfterSoftmax(Rule):
    """## What it does

    Flags attention weights that are masked after the softmax, by a fill with 0 or a product with a mask, and are
    then multiplied with the values, although the scores were not masked before the softmax. It also flags scores that
    are filled with a huge number, such as minus infinity, and multiplied with the values as they are: the softmax is
    missing, or its result is lost.

    ## Why it matters

    The softmax has shared out the weight among all keys, the masked ones included. To zero these afterwards leaves
    rows that sum to less than one. The result shrinks with the number of masked keys, and a query with much padding
    gets hardly anything. What is left still depends on the scores of the masked keys: a decoder sees the future.

    ## Example

    ```python
    weights = scores.softmax(dim=-1)
    weights = weights * mask
    y = weights @ v
    ```

    Use instead:

    ```python
    scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    y = weights @ v
    ```

    ## Fix

    There is none. The code does not say which keys the scores should leave out, and where, or where a softmax belongs.
    `--verify`, `--fix` and `--diff` show the code wrong by *constant value*: the weights of a query do not add up to
    one.

    ## When it stays silent

    - The scores were masked before the softmax as well on every path through the code, or something was added to
      them, which may be a mask.
    - The weights are normalised again: divided by their sum, or by anything else.
    - The weights are multiplied by something that is not known to be a mask: a gate, a mask of heads, dropout.
      So it is where one of those who call the function hands over such a thing under the name of a mask.
    - The mask hides whole rows, or is computed from the weights themselves (the largest few, NaN).
    - A function was applied to the masked scores, `exp` or one that is not known: it may do what a softmax does.

    ## References

    - [huggingface/pytorch-image-models#2236](https://github.com/huggingface/pytorch-image-models/pull/2236)
    - [lucidrains/memory-compressed-attention#2](https://github.com/lucidrains/memory-compressed-attention/issues/2)
    """

    code = "MHA107"
    name = "mask-after-softmax"
    severity = "error"
    finds = "weights masked after the softmax, of scores that are not masked"
    shown_by = ("constant value",)
    no_fix = "the code does not say which keys the scores should leave out, and where, or where a softmax belongs"
    why = "The softmax has shared out the weight among the masked keys too: what is left sums to less than one."
    invalid: ClassVar = (
        "def attend(q, k, v, mask):\n    w = (q @ k.transpose(-2, -1)).softmax(-1)\n"
        "    w = w.masked_fill(mask == 0, 0.0)\n    return w @ v\n",
        "def attend(q, k, v):\n    w = (q @ k.transpose(-2, -1)).softmax(-1)\n"
        "    w = w * torch.ones(w.shape[-2:]).tril()\n    return w @ v\n",
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    w = s.softmax(-1)\n"
        "    s = s.masked_fill(mask == 0, float('-inf'))\n    return s @ v\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n"
        "    w = s.masked_fill(mask == 0, -1e4).softmax(-1)\n"
        "    w = w.masked_fill(mask == 0, 0.0)\n    return w @ v\n",
        "def attend(q, k, v, mask):\n    w = (q @ k.transpose(-2, -1)).softmax(-1) * (mask == 0)\n"
        "    w = w / w.sum(-1, keepdim=True)\n    return w @ v\n",
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n"
        "    w = s.masked_fill(mask == 0, float('-inf')).sigmoid()\n    return w @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        found: dict[ast.expr, bool] = {}
        summed: set[ast.expr] = set()
        bare: dict[ast.expr, None] = {}
        for operation in model.everywhere():
            for weights in _operands(operation, "weights"):
                zeroed = [masking.node for masking in weights.masked if masking.kind == "zero" and masking.node]
                if operation.name == "sum":
                    summed.update(zeroed)
                for node in zeroed:
                    found[node] = found.get(node, False) or len(zeroed) == len(weights.masked)
            if operation.name in _PRODUCTS:
                for scores in _operands(operation, "scores"):
                    bare.update(dict.fromkeys(_huge_fills(scores)))
        wrong = [node for node, alone in found.items() if alone and node not in summed and not _may_gate(node, model)]
        for node in (*wrong, *bare):
            if node in model.abroad:
                continue
            symbol = next((operation.symbol for operation in model.operations.get(node, ())), "")
            message = "the weights are masked after the softmax and the scores are not: rows no longer sum to one"
            if node in bare:
                message = "these masked scores are multiplied with the values: no softmax makes weights of them"
            yield Hit(node, node, message, symbol)


def _may_gate(node: ast.expr, model: FileModel) -> bool:
    """Tell whether a caller hands over something else than a mask of keys, such as a mask of heads."""
    results = [operation.result for operation in model.operations.get(node, ())]
    weights = [result for result in results if isinstance(result, Tensor) and "weights" in result.roles]
    return any(all(masking.node is not node for masking in result.masked) for result in weights)


def _operands(operation: OperationSeen, role: str) -> Iterator[Tensor]:
    """The operands of a product or of a sum that are weights, or scores."""
    if operation.name not in _PRODUCTS and operation.name != "sum":
        return
    for value in operation.args:
        for each in value.items if isinstance(value, Sequence) else (value,):
            if isinstance(each, Tensor) and role in each.roles:
                yield each


def _huge_fills(scores: Tensor) -> list[ast.expr]:
    """Where scores were filled with huge numbers, if nothing else has happened to what is masked since."""
    if not all(masking.kind == "fill" and _is_huge(masking) for masking in scores.masked):
        return []
    return [masking.node for masking in scores.masked if masking.node is not None]


def _is_huge(masking: Masking) -> bool:
    if masking.numbers is None or masking.default is not None:
        return False
    return all(abs(number) >= HUGE for number in masking.numbers)
