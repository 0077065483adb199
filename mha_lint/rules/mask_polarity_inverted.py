"""MHA106: masks that hide the past instead of the future."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.filling import filling, softmaxed
from mha_lint.model.handing import handed_over
from mha_lint.model.keys import Kind
from mha_lint.model.marks import ONES, YES_OR_NO, ZERO, Mask
from mha_lint.model.masks import where_parts
from mha_lint.model.values import Tensor, Unknown, Value, as_factor
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places

NEGATIVE = -1e3  # what is added to scores, or put in their place, to mask them


@dataclass(frozen=True, slots=True)
class Inverted:
    """The evidence: the mask as it is written, whether it is boolean, joined with another, wrong on every path seen."""

    mask: ast.expr | None
    boolean: bool
    joined: bool
    always: bool
    elsewhere: bool = False  # it is used in another module, and handed over here


class MaskPolarityInverted(Rule):
    """## What it does

    Flags causal masks that are used the wrong way round: `triu(diagonal=1)` given as a boolean `attn_mask` to
    `scaled_dot_product_attention`, `tril()` given to `masked_fill` or to `nn.MultiheadAttention`, `torch.where` with
    its branches swapped, and sums of scores with a mask that is minus infinity over the past.

    ## Why it matters

    The conventions are opposite: in `scaled_dot_product_attention` True means *attend*, in `masked_fill` and in
    `nn.MultiheadAttention` it means *leave out*. The wrong one lets each token see the future and hides the past
    and the token itself. The last token sees nothing: its result is NaN, or the average of all values.

    ## Example

    ```python
    mask = torch.triu(torch.ones(t, t), diagonal=1).bool()
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ```

    Use instead:

    ```python
    mask = torch.triu(torch.ones(t, t), diagonal=1).bool()
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=~mask)
    ```

    ## Fix

    Inverts the mask where it is used: `~mask`, `mask != 0` for `mask == 0`. It is *unsafe* because the module
    computes something else afterwards, on purpose. Relation *corrected*: before, a later token changes an earlier
    result; after, it does not. A mask that is joined with another one, such as `causal | given`, has no fix: the code
    does not say what True means in that one. Neither has a mask that is handed to a function of another file.

    ## When it stays silent

    - It isn't known which region the mask marks: a mask that is given, or a window.
    - Each token sees itself and the future: that is attention backward, on purpose.
    - The scores do not go into a softmax, as where only one half of all pairs is wanted.
    - A transpose or an inversion on the way puts the mask right.

    ## References

    - [rasbt/LLMs-from-scratch#1061](https://github.com/rasbt/LLMs-from-scratch/issues/1061)
    - [lucidrains/x-transformers#160](https://github.com/lucidrains/x-transformers/issues/160)
    - [huggingface/transformers#38094](https://github.com/huggingface/transformers/pull/38094)
    """

    code = "MHA106"
    name = "mask-polarity-inverted"
    severity = "error"
    finds = "a causal mask that hides the past and shows the future"
    why = "True means attend in some functions, and ignore in others: this mask hides the past and shows the future."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n"
        "    mask = torch.triu(torch.ones(t, t), diagonal=1).bool()\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
        "def attend(q, k, v):\n    s = q @ k.transpose(-2, -1)\n    mask = torch.ones(s.shape[-2:]).tril().bool()\n"
        "    return s.masked_fill(mask, float('-inf')).softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n"
        "    mask = torch.ones(t, t, dtype=torch.bool).tril()\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
        "def backward(q, k, v):\n    s = q @ k.transpose(-2, -1)\n"
        "    mask = torch.ones(s.shape[-2:]).tril(-1).bool()\n"
        "    return s.masked_fill(mask, float('-inf')).softmax(-1) @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Inverted]]:
        attends = softmaxed(model.everywhere())
        for node, seen in model.operations.items():
            if seen[0].name in ("masked_fill", "where", "add") and node not in attends:
                continue  # such as scores of pairs, of which one half is not asked for
            told = [(operation, _inverted(operation, node, model.names)) for operation in seen]
            wrong = [(operation, mask) for operation, mask in told if mask is not None]
            if not wrong:
                continue
            operation, mask = wrong[0]
            written = None if _hides(mask) else _written(operation, node, model.names, places)
            joined = mask.inside == YES_OR_NO  # and surely wrong over the future
            evidence = Inverted(written, mask.boolean is True, joined, len(wrong) == len(told))
            place = written or _written(operation, node, model.names, places) or node
            yield Hit(place, place, _message(operation, mask), operation.symbol, evidence=evidence)
        yield from _handed_over(model, attends, places)


def _handed_over(model: FileModel, attends: set[ast.expr], places: Places) -> Iterator[Hit[Inverted]]:
    """Yield the hits at calls of other modules, which are handed a mask of this one and use it the wrong way round."""
    told: set[ast.expr] = set()
    for (_, node), seen in model.led.items():
        if seen[0].name in ("masked_fill", "where", "add") and node not in attends:
            continue
        for operation in seen:
            names = operation.led[0].names
            mask = _inverted(operation, node, names)
            if mask is None:
                continue
            place = handed_over(operation, _used(operation, node, names, places), partial(_is_like, mask))
            if place is not None and place not in told:
                told.add(place)
                evidence = Inverted(None, mask.boolean is True, mask.inside == YES_OR_NO, False, elsewhere=True)
                message = f"where this mask is handed to, {_message(operation, mask)}"
                yield Hit(place, place, message, operation.symbol, evidence=evidence)


def _used(operation: OperationSeen, node: ast.expr, names: ModuleNames, places: Places) -> ast.expr | None:
    """The mask as an operation of another module writes it."""
    if isinstance(node, ast.BinOp):
        return node.right if _are_scores(operation.args[0]) else node.left
    return _written(operation, node, names, places)


def _is_like(mask: Mask, value: Value) -> bool:
    """Tell whether a value is the same mask, of whatever type, or its inverse."""
    known = _mask(value)
    opposite = mask.changed(operator.not_, boolean=True)
    same = [(each.inside, each.outside) for each in (mask, opposite)]
    return known is not None and (known.inside, known.outside) in same


def _inverted(operation: OperationSeen, node: ast.expr, names: ModuleNames) -> Mask | None:
    """The mask that is used the wrong way round there, if one is."""
    match operation.name:
        case "scaled_dot_product_attention":
            mask = _mask(operation.argument(3, "attn_mask"))
            return mask if mask and (_hides(mask) or (mask.boolean is True and _future(mask))) else None
        case "multi_head_attention":
            mask = _mask(operation.argument(5, "attn_mask"))
            return mask if mask and (_hides(mask) or (mask.boolean is True and _past(mask))) else None
        case "masked_fill":
            scores, mask = operation.args[0] if operation.args else None, _mask(operation.argument(1, "mask"))
            negative = _is_negative(operation.argument(2, "value"))
            return mask if mask and negative and _past(mask) and _are_scores(scores) else None
        case "where" if len(operation.args) == 3:
            method = isinstance(node, ast.Call) and names.qualify(node.func) is None
            condition, yes, no = where_parts(operation.args, method=method)
            mask = _mask(condition)
            if mask is None:
                return None
            kept = _are_scores(yes) and _is_negative(no) and _future(mask)
            return mask if kept or (_are_scores(no) and _is_negative(yes) and _past(mask)) else None
        case "add" if len(operation.args) == 2:
            left, right = operation.args
            for scores, other in ((left, right), (right, left)):
                mask = _mask(other)
                if _are_scores(scores) and mask is not None and _hides(mask):
                    return mask
    return None


def _mask(value: Value | None) -> Mask | None:
    """A mask by a diagonal that a token's own key is on the lower side of."""
    mask = value.mask if isinstance(value, Tensor) else None
    return mask if isinstance(mask, Mask) and mask.diagonal == 0 else None


def _past(mask: Mask) -> bool:
    """Tell whether it marks all of the past, and not all of the future; or some of the past, and nothing else."""
    if mask.outside == ZERO and mask.inside == YES_OR_NO:
        return True
    return mask.inside == ONES and mask.outside is not None and 0.0 in mask.outside


def _future(mask: Mask) -> bool:
    """Tell whether it marks nothing of the past, and some of the future; or all of the future, and not all else."""
    if mask.outside == ONES and mask.inside == YES_OR_NO:
        return True
    return mask.inside == ZERO and (mask.outside is None or 1.0 in mask.outside)


def _hides(mask: Mask) -> bool:
    """Tell whether it is added to scores, and hides the past."""
    return mask.inside is not None and max(mask.inside) <= NEGATIVE and mask.outside == ZERO


def _are_scores(value: Value | None) -> bool:
    return isinstance(value, Tensor) and "scores" in value.roles


def _is_negative(value: Value | None) -> bool:
    """Tell whether scores are masked with it: a huge negative number, or the smallest of the dtype."""
    factor = as_factor(value)
    number = None if factor is None else factor.constant
    return (number is not None and number <= NEGATIVE) or (number is None and _is_smallest(value))


def _is_smallest(value: Value | None) -> bool:
    """Tell whether it is ``torch.finfo(…).min``, or what else is called so."""
    key = value.key if isinstance(value, (Unknown, Tensor)) else None
    return key is not None and key.kind is Kind.ATTRIBUTE and key.names[-1] == "min"


def _written(operation: OperationSeen, node: ast.expr, names: ModuleNames, places: Places) -> ast.expr | None:
    if operation.name == "add" or not isinstance(node, (ast.Call, ast.Subscript)):
        return None
    if operation.name in ("masked_fill", "where"):
        fill = filling(node, names, places)
        return None if fill is None else fill.mask
    if not isinstance(node, ast.Call):
        return None
    return argument(node, 3 if operation.name.startswith("scaled") else 5, "attn_mask")


_USERS = {
    "scaled_dot_product_attention": "`scaled_dot_product_attention`, in which True means attend,",
    "multi_head_attention": "`nn.MultiheadAttention`, in which True means ignore,",
    "masked_fill": "`masked_fill`",
    "where": "`where`",
    "add": "scores",
}


def _message(operation: OperationSeen, mask: Mask) -> str:
    if _hides(mask):
        return "the mask that is added to the scores hides the past, not the future"
    marks = "the past" if _past(mask) else "the future"
    return f"{_USERS[operation.name]} is given a mask that is True over {marks}"
