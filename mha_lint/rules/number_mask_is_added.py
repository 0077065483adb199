"""MHA113: masks of zeros and ones that are added to the scores."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.filling import softmaxed
from mha_lint.model.handing import handed_over
from mha_lint.model.marks import ONES, YES_OR_NO, ZERO, Mask
from mha_lint.model.values import Tensor, Value
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places

_ATTENDS = "scaled_dot_product_attention"
_ARGUMENTS = {_ATTENDS: ((3, "attn_mask"),), "multi_head_attention": ((5, "attn_mask"), (3, "key_padding_mask"))}


@dataclass(frozen=True, slots=True)
class Added:
    """The evidence: the mask as it is written, and whether True over what 1 marks is right; None if not known."""

    mask: ast.expr
    right: bool | None
    elsewhere: bool = False  # it is used in another module, and handed over here


class NumberMaskIsAdded(Rule):
    """## What it does

    Flags masks of zeros and ones, of a floating or integer type, given to `scaled_dot_product_attention` as
    `attn_mask`, or to `nn.MultiheadAttention` as `attn_mask` or `key_padding_mask`. It also flags scores that are
    added such a mask, or a boolean one, before their softmax.

    ## Why it matters

    A mask that is not boolean is added to the scores. A 1 instead of a 0 makes a key a little more likely, and masks
    nothing: the model attends to padding, or to the future. A mask of integers raises.

    ## Example

    ```python
    mask = torch.tril(torch.ones(t, t))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ```

    Use instead:

    ```python
    mask = torch.tril(torch.ones(t, t))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.bool())
    ```

    ## Fix

    For a causal mask, writes `mask.bool()`, or `mask == 0` where a 1 of the mask and True in the function mean the
    opposite. For other masks there is no fix: the code does not say which of the two is meant. It is *unsafe* because
    the module computes something else afterwards, on purpose. Relation *corrected*: before, a masked token changes the
    result; after, it does not.

    ## When it stays silent

    - The mask is boolean; it was multiplied by a large negative number, or filled with one: that is meant to be added.
    - The numbers in it are not known to be 0 and 1: a mask that is given, unless the code makes whole numbers of it or
      calls it padding; a learned bias.

    ## References

    - [`scaled_dot_product_attention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html):
      a float mask is added to the attention score
    - [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)
    """

    code = "MHA113"
    name = "number-mask-is-added"
    severity = "error"
    finds = "a mask of zeros and ones that is added to the scores"
    why = "A mask that is not boolean is added to the scores: a 1 in it makes a key more likely, and masks nothing."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n"
        "    mask = torch.tril(torch.ones(t, t))\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, lengths):\n"
        "    mask = (torch.arange(k.shape[-2]) < lengths[:, None, None, None]).float()\n"
        "    return F.scaled_dot_product_attention(q, k, v, mask)\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n"
        "    mask = (1 - torch.tril(torch.ones(t, t))) * -1e4\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, mask):\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask == 1)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Added]]:
        attends = softmaxed(model.everywhere())
        for node, seen in model.operations.items():
            if seen[0].name == "add" and node in attends and all(map(_adds_a_mask, seen)):
                what = "scores are added a mask of yes and no: a 1 makes a key more likely, and masks nothing"
                yield Hit(node, node, what, seen[0].symbol, evidence=Added(node, None))
            if not isinstance(node, ast.Call) or seen[0].name not in _ARGUMENTS:
                continue
            for index, name in _ARGUMENTS[seen[0].name]:
                masks = [_number_mask(operation.argument(index, name)) for operation in seen]
                found = [mask for mask in masks if mask is not None]
                written = argument(node, index, name)
                if not found or written is None:
                    continue
                rights = {_means_true(mask, seen[0].name) for mask in masks}
                evidence = Added(written, rights.pop() if len(rights) == 1 else None)
                message = f"`{name}` is a mask of zeros and ones: it is added to the scores, and masks nothing"
                yield Hit(written, written, message, seen[0].symbol, evidence=evidence)
        yield from _handed_over(model)


def _handed_over(model: FileModel) -> Iterator[Hit[Added]]:
    """Yield the hits at calls of other modules, which are handed a mask of this one and give it to a function."""
    told: set[ast.expr] = set()
    for (_, node), seen in model.led.items():
        if not isinstance(node, ast.Call):
            continue
        for index, name in _ARGUMENTS.get(seen[0].name, ()):
            for operation in seen:
                mask = _number_mask(operation.argument(index, name))
                written = argument(node, index, name)
                place = None if mask is None else handed_over(operation, written, partial(_is_like, mask))
                if place is None or place in told:
                    continue
                told.add(place)
                message = "a mask of zeros and ones is handed over, which is added to the scores, and masks nothing"
                yield Hit(place, place, message, operation.symbol, evidence=Added(place, None, elsewhere=True))


def _is_like(mask: Mask, value: Value) -> bool:
    """Tell whether a value is the same mask of numbers."""
    known = _number_mask(value)
    return known is not None and (known.inside, known.outside) == (mask.inside, mask.outside)


def _adds_a_mask(seen: OperationSeen) -> bool:
    """Tell whether scores are added a mask that is boolean, or of zeros and ones."""
    if len(seen.args) != 2:
        return False
    left, right = seen.args
    for scores, other in ((left, right), (right, left)):
        if isinstance(scores, Tensor) and "scores" in scores.roles and isinstance(other, Tensor) and not other.roles:
            mask = other.mask
            return isinstance(mask, Mask) and not mask.random and mask.numbers == YES_OR_NO and mask.boolean is not None
    return False


def _number_mask(value: Value | None) -> Mask | None:
    mask = value.mask if isinstance(value, Tensor) else None
    return mask if isinstance(mask, Mask) and mask.boolean is False and mask.numbers == YES_OR_NO else None


def _means_true(mask: Mask | None, name: str) -> bool | None:
    """Tell whether the ones of a causal mask should become True; None where the mask is not known to be causal."""
    if mask is None or mask.diagonal != 0:
        return None
    if mask.outside == ZERO:
        return name == _ATTENDS
    return name != _ATTENDS if mask.outside == ONES and mask.inside == ZERO else None
