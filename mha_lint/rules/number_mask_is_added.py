"""MHA113: masks of zeros and ones that are added to the scores."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.filling import added_masks
from mha_lint.model.handing import handed_over
from mha_lint.model.marks import ONES, YES_OR_NO, ZERO, Mask
from mha_lint.model.values import Value
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import ARGUMENTS, ATTENDS, mask_of
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places


class Added(Struct, frozen=True):
    """The evidence: the mask as it is written, and whether True over what 1 marks is right; None if not known.

    ``scores`` are what it is added to by hand, and ``boolean`` says that it is boolean already.
    """

    mask: ast.expr
    right: bool | None
    scores: ast.expr | None = None
    boolean: bool = False
    causal: bool = True
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

    For a causal mask, or one of padding that the code tells, writes `mask.bool()`, or `mask == 0` where a 1 of the mask
    and True in the function mean the opposite; scores to which such a mask is added by hand are filled in its place.
    For other masks there is no fix: the code does not say which of the two is meant. It is *unsafe* because
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
        for node in added_masks(model.everywhere()):
            if node in model.abroad:
                continue
            seen = model.operations.get(node, [])
            if not all(map(_adds_yes_or_no, seen)):
                continue
            what = "scores are added a mask of yes and no: a 1 makes a key more likely, and masks nothing"
            symbol = seen[0].symbol if seen else ""
            yield Hit(node, node, what, symbol, evidence=_by_hand(node, seen))
        for node, seen in model.operations.items():
            if not isinstance(node, ast.Call) or seen[0].name not in ARGUMENTS:
                continue
            for index, name in ARGUMENTS[seen[0].name]:
                masks = [_number_mask(operation.argument(index, name)) for operation in seen]
                found = [mask for mask in masks if mask is not None]
                written = argument(node, index, name)
                if not found or written is None:
                    continue
                rights = {_means_true(mask, attends=seen[0].name == ATTENDS) for mask in masks}
                causal = all(mask.diagonal == 0 for mask in found)
                evidence = Added(written, rights.pop() if len(rights) == 1 else None, causal=causal)
                message = f"`{name}` is a mask of zeros and ones: it is added to the scores, and masks nothing"
                yield Hit(written, written, message, seen[0].symbol, evidence=evidence)
        yield from _handed_over(model)


def _handed_over(model: FileModel) -> Iterator[Hit[Added]]:
    """Yield the hits at calls of other modules, which are handed a mask of this one and give it to a function."""
    told: set[ast.expr] = set()
    for (_, node), seen in model.led.items():
        if not isinstance(node, ast.Call):
            continue
        for index, name in ARGUMENTS.get(seen[0].name, ()):
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


def _adds_yes_or_no(operation: OperationSeen) -> bool:
    """Tell whether the numbers of a mask are known on this path, wherever it leads."""
    masks = [mask_of(value) for value in operation.args]
    return any(mask is not None and mask.numbers == YES_OR_NO for mask in masks)


def _by_hand(node: ast.expr, seen: list[OperationSeen]) -> Added:
    """The evidence of a sum: of ``scores + mask``, where it is known what a 1 marks, both parts of it."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add):
        return Added(node, None)
    for side, scores, written in ((1, node.left, node.right), (0, node.right, node.left)):
        masks = [mask_of(operation.args[side]) for operation in seen]
        known = [mask for mask in masks if mask is not None]
        rights = {_means_true(mask, attends=False) for mask in masks}
        right = rights.pop() if len(rights) == 1 else None
        if known and len(known) == len(masks) and right is not None:
            causal = all(mask.diagonal == 0 and mask.padding is None for mask in known)
            return Added(written, right, scores, all(mask.boolean is True for mask in known), causal)
    return Added(node, None)


def _number_mask(value: Value | None) -> Mask | None:
    mask = mask_of(value)
    return mask if mask is not None and mask.boolean is False and mask.numbers == YES_OR_NO else None


def _means_true(mask: Mask | None, *, attends: bool) -> bool | None:
    """Tell whether ones should become True; None where it is not known what they mark.

    ``attends`` says that True means attend, not ignore.
    """
    if mask is None:
        return None
    if mask.padding is not None:
        padded, tokens = mask.padding.padded, mask.padding.tokens
        shows, hides = (padded, tokens) == (ZERO, ONES), (padded, tokens) == (ONES, ZERO)
    elif mask.diagonal == 0:
        shows, hides = mask.outside == ZERO, mask.outside == ONES and mask.inside == ZERO
    else:
        return None
    if shows:
        return attends
    return not attends if hides else None
