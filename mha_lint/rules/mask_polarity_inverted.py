"""MHA106: masks that hide the past instead of the future, or the tokens instead of the padding."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.causal_masks import Means
from mha_lint.model.filling import masked_beside, softmaxed
from mha_lint.model.handing import handed_over
from mha_lint.model.marks import ONES, YES_OR_NO, ZERO, Mask, Padding
from mha_lint.model.sizes import Size
from mha_lint.model.values import Tensor, Value
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import IN_SCORES, NEGATIVE, Use, are_scores, mask_of, uses

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places


class Inverted(Struct, frozen=True):
    """The evidence: the mask as it is written, whether it is boolean, joined with another, wrong on every path seen."""

    mask: ast.expr | None
    boolean: bool
    joined: bool
    always: bool
    elsewhere: bool = False  # it is used in another module, and handed over here
    padding: bool = False
    column: ast.expr | None = None  # the expression that lays a padding mask along the queries


class MaskPolarityInverted(Rule):
    """## What it does

    Flags causal masks that are used the wrong way round: `triu(diagonal=1)` given as a boolean `attn_mask` to
    `scaled_dot_product_attention`, `tril()` given to `masked_fill` or to `nn.MultiheadAttention`, `torch.where` with
    its branches swapped, and sums of scores with a mask that is minus infinity over the past.

    It flags padding masks that are used the wrong way round as well: `ids != pad` given to `nn.MultiheadAttention` or
    to the layers of `nn.Transformer` as a key padding mask, `ids == pad` given to `scaled_dot_product_attention`. A
    comparison tells that a mask is one of padding: with a name that says so (`self.pad`, `PAD_IDX`), of token ids with
    0, or of positions with lengths.

    A padding mask `(b, 1, s, 1)` in self-attention, where nothing else masks the keys, is flagged where it is laid out:
    it hides queries that are padding, and shows all padded keys.

    ## Why it matters

    The conventions are opposite: in `scaled_dot_product_attention` True means *attend*, in `masked_fill` and in
    `nn.MultiheadAttention` it means *leave out*. The wrong one lets each token see the future and hides the past
    and the token itself. The last token sees nothing: its result is NaN, or the average of all values. With a
    padding mask, tokens attend to padding alone, or to padding as well.

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

    Inverts the mask where it is used: `~mask`, `mask != 0` for `mask == 0`. A padding mask along the queries is
    laid along the keys: `unsqueeze(2)` for `unsqueeze(3)`, `[:, None, None, :]` for `[:, None, :, None]`. It is
    *unsafe* because the module computes something else afterwards, on purpose. Relation *corrected*: before, a
    later token changes an earlier result, or a padded key has an influence; after, it does not. A mask that is
    joined with another one, such as `causal | given`, has no fix: the code does not say what True means in that
    one. Neither has a mask that is handed to a function of another file.

    ## When it stays silent

    - It isn't known which region the mask marks: a mask that is given, or a window.
    - Each token sees itself and the future: that is attention backward, on purpose.
    - What True means in a padding mask that is given: its name does not say for sure.
    - Padding hides queries where keys are masked too, where there are other queries than keys, or where the result is
      masked afterwards.
    - The scores do not go into a softmax, as where only one half of all pairs is wanted.
    - A transpose or an inversion on the way puts the mask right.

    ## References

    - [rasbt/LLMs-from-scratch#1061](https://github.com/rasbt/LLMs-from-scratch/issues/1061)
    - [lucidrains/x-transformers#160](https://github.com/lucidrains/x-transformers/issues/160)
    - [huggingface/transformers#38094](https://github.com/huggingface/transformers/pull/38094)
    - [hyunwoongko/transformer#40](https://github.com/hyunwoongko/transformer/issues/40)
    - [pytorch/pytorch#170400](https://github.com/pytorch/pytorch/issues/170400)
    """

    code = "MHA106"
    name = "mask-polarity-inverted"
    severity = "error"
    finds = "a causal or a padding mask that is the wrong way round"
    why = "True means attend in some functions, and ignore in others: this mask hides what it should show."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    t = q.shape[-2]\n"
        "    mask = torch.triu(torch.ones(t, t), diagonal=1).bool()\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
        "def attend(q, k, v):\n    s = q @ k.transpose(-2, -1)\n    mask = torch.ones(s.shape[-2:]).tril().bool()\n"
        "    return s.masked_fill(mask, float('-inf')).softmax(-1) @ v\n",
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, ids, pad):\n"
        "    mask = (ids == pad)[:, None, None, :]\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
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
        columns: set[ast.expr] = set()
        for node, seen in model.operations.items():
            if seen[0].name in IN_SCORES and node not in attends:
                continue  # such as scores of pairs, of which one half is not asked for
            found = [(operation, list(uses(operation, model.names))) for operation in seen]
            for name in {use.name for _, used in found for use in used}:
                yield from _wrong(name, found, model, places)
            column = _column(found, model)
            if column is not None and column not in columns and not _are_rows_zeroed(seen[0].symbol, model):
                columns.add(column)
                evidence = Inverted(None, False, False, True, padding=True, column=column)
                yield Hit(column, column, _ALONG_QUERIES, seen[0].symbol, evidence=evidence)
        yield from _handed_over(model, attends, places)


def _handed_over(model: FileModel, attends: set[ast.expr], places: Places) -> Iterator[Hit[Inverted]]:
    """Yield the hits at calls of other modules, which are handed a mask of this one and use it the wrong way round."""
    told: set[ast.expr] = set()
    for (_, node), seen in model.led.items():
        if seen[0].name in IN_SCORES and node not in attends:
            continue
        for operation in seen:
            names = operation.led[0].names
            for use in uses(operation, names):
                padding = not _is_inverted(use)
                if padding and not _is_padding_inverted(use):
                    continue
                written = use.written(operation, names, places) or _addend(operation)
                place = handed_over(operation, written, partial(_is_like, use.mask))
                if place is None or place in told:
                    continue
                told.add(place)
                joined = _is_joined(use, padding=padding)
                evidence = Inverted(None, use.mask.boolean is True, joined, False, elsewhere=True, padding=padding)
                said = _message_of_padding(operation, use) if padding else _message(operation, use)
                yield Hit(place, place, f"where this mask is handed to, {said}", operation.symbol, evidence=evidence)


def _addend(operation: OperationSeen) -> ast.expr | None:
    """The mask that another module adds to scores, as it is written there."""
    node = operation.node
    if not isinstance(node, ast.BinOp):
        return None
    return node.right if are_scores(operation.args[0]) else node.left


def _is_like(mask: Mask, value: Value) -> bool:
    """Tell whether a value is the same mask, of whatever type, or its inverse."""
    known = mask_of(value)
    opposite = mask.changed(operator.not_, boolean=True)
    same = [(each.inside, each.outside) for each in (mask, opposite)]
    return known is not None and (known.inside, known.outside) in same


_Found = list[tuple["OperationSeen", list[Use]]]


def _wrong(name: str, found: _Found, model: FileModel, places: Places) -> Iterator[Hit[Inverted]]:
    """The mask of that name, where it is the wrong way round on a path."""
    told = [(operation, use) for operation, used in found for use in used if use.name == name]
    wrong = [(operation, use) for operation, use in told if _is_inverted(use) or _is_padding_inverted(use)]
    if not wrong:
        return
    operation, use = wrong[0]
    padding = not _is_inverted(use)
    written = use.written(operation, model.names, places)
    added = use.means is Means.ADDED
    joined = _is_joined(use, padding=padding)
    always = len(wrong) == len(found)
    evidence = Inverted(None if added else written, use.mask.boolean is True, joined, always, padding=padding)
    place = written or operation.node
    message = _message_of_padding(operation, use) if padding else _message(operation, use)
    yield Hit(place, place, message, operation.symbol, evidence=evidence)


# --- causal masks ----------------------------------------------------------------------------------------------------


def _is_inverted(use: Use) -> bool:
    """Tell whether a mask by a diagonal, that a token's own key is on the lower side of, is the wrong way round."""
    mask = use.mask
    if mask.diagonal != 0:
        return False
    match use.means:
        case Means.ATTEND:
            return _future(mask)
        case Means.IGNORE:
            return _past(mask)
        case Means.ADDED:
            return _hides(mask)


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


# --- padding masks ---------------------------------------------------------------------------------------------------


def _is_padding_inverted(use: Use) -> bool:
    """Tell whether a padding mask hides the tokens, and shows the padding."""
    padding = use.mask.padding
    if padding is None or padding.padded is None or padding.tokens is None:
        return False
    match use.means:
        case Means.ATTEND:
            return _marks(padding.padded, padding.tokens)
        case Means.IGNORE:
            return _marks(padding.tokens, padding.padded)
        case Means.ADDED:
            return max(padding.tokens) <= NEGATIVE and padding.padded == ZERO


def _marks(these: frozenset[float], others: frozenset[float]) -> bool:
    """Tell whether ones stand at all of these and not at all others, or at some of these and at none of the others."""
    return (these == ONES and 0.0 in others) or (1.0 in these and others == ZERO)


def _is_joined(use: Use, *, padding: bool) -> bool:
    """Tell whether the mask is of another one besides, of which the code doesn't say which way round it is."""
    if not padding:
        return use.mask.inside == YES_OR_NO
    known: Padding | None = use.mask.padding
    return known is not None and YES_OR_NO in (known.padded, known.tokens)


def _column(found: _Found, model: FileModel) -> ast.expr | None:
    """The expression that lays padding along the queries, where on each path nothing else may hide padded keys."""
    columns: set[ast.expr | None] = set()
    for operation, used in found:
        masks = [use.mask for use in used if use.mask.padding is not None and use.mask.padding.column is not None]
        if not masks or not _is_of_keys(operation, masks[0]) or _are_keys_masked(operation, model):
            return None
        assert masks[0].padding is not None
        columns.add(masks[0].padding.column)
    return columns.pop() if len(columns) == 1 else None


def _is_of_keys(operation: OperationSeen, mask: Mask) -> bool:
    """Tell whether queries and keys are as many, or the keys alone as many as the tokens of the mask."""
    if operation.name not in (*IN_SCORES, "scaled_dot_product_attention"):
        return False
    if operation.name in IN_SCORES:
        scores = next((each for each in operation.args if isinstance(each, Tensor) and "scores" in each.roles), None)
        shape = None if scores is None else scores.shape
        return shape is not None and len(shape) > 1 and _are_one(shape[-1], shape[-2])
    query, key = operation.argument(0, "query"), operation.argument(1, "key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or query.shape is None or key.shape is None:
        return False
    return _are_one(query.shape[-2], key.shape[-2])


def _are_one(size: Size, other: Size) -> bool:
    """Tell whether two sizes are the same one; what is left over in a view has the same name wherever that is run."""
    return size == other and not any(key.left_over for key in size.symbols)


def _are_keys_masked(operation: OperationSeen, model: FileModel) -> bool:
    """Tell whether the scores are masked in another way that may hide padded keys: not by a causal mask."""
    for masking in masked_beside(model.everywhere(), operation.node):
        beside = [] if masking.node is None else model.operations.get(masking.node, [])
        masks = [use.mask for other in beside for use in uses(other, model.names)]
        if not masks or any(mask.diagonal is None or mask.padding is not None for mask in masks):
            return True
    return False


def _are_rows_zeroed(symbol: str, model: FileModel) -> bool:
    """Tell whether what the weights gave is masked by padding later in the function: rows are masked on purpose."""
    later = [
        operation
        for seen in model.operations.values()
        for operation in seen
        if operation.symbol == symbol and operation.name in ("mul", "masked_fill", "where")
    ]
    return any(_masks_result(operation) for operation in later)


def _masks_result(operation: OperationSeen) -> bool:
    tensors = [each for each in operation.args if isinstance(each, Tensor)]
    masks = [mask for mask in map(mask_of, tensors) if mask is not None]
    return any(each.roles & _RESULTS for each in tensors) and any(mask.padding is not None for mask in masks)


_RESULTS = frozenset({"weights", "context", "merged", "projected"})


# --- messages --------------------------------------------------------------------------------------------------------

_IGNORES = "in which True means ignore,"
_USERS = {
    "scaled_dot_product_attention": "`scaled_dot_product_attention`, in which True means attend,",
    "multi_head_attention": f"`nn.MultiheadAttention`, {_IGNORES}",
    "masked_fill": "`masked_fill`",
    "where": "`where`",
    "add": "scores",
}
_ALONG_QUERIES = "the padding mask is laid along the queries: rows of padding are masked, and padded keys stay visible"


def _user(operation: OperationSeen) -> str:
    return _USERS.get(operation.name, f"`nn.{operation.name}`, {_IGNORES}")


def _message(operation: OperationSeen, use: Use) -> str:
    if use.means is Means.ADDED:
        return "the mask that is added to the scores hides the past, not the future"
    marks = "the past" if _past(use.mask) else "the future"
    return f"{_user(operation)} is given a mask that is True over {marks}"


def _message_of_padding(operation: OperationSeen, use: Use) -> str:
    if use.means is Means.ADDED:
        return "the mask that is added to the scores hides the tokens, not the padding"
    marks = "padding, not over the tokens" if use.means is Means.ATTEND else "the tokens, not over padding"
    return f"{_user(operation)} is given a padding mask that is True over {marks}"
