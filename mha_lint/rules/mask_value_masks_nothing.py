"""MHA111: scores that are filled with about 0 where they are masked."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.default_numbers import is_handed
from mha_lint.model.filling import Filling, filling
from mha_lint.model.handing import handed_over
from mha_lint.model.marks import Masking
from mha_lint.model.values import Tensor, as_factor
from mha_lint.rules.asking import number_text
from mha_lint.rules.base import Hit, Rule

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places

TINY = 1e-3  # scores of trained attention are far larger; what is filled with this is not masked


class Unmasked(Struct, frozen=True):
    """The evidence: how the fill is written; None where scores are multiplied by the mask."""

    node: ast.expr
    filling: Filling | None
    elsewhere: bool = False  # scores are filled in another module, with a number that is handed over here


class MaskValueMasksNothing(Rule):
    """## What it does

    Flags attention scores that are filled, where they are masked, with 0 or with a tiny number such as `-1e-9` before
    they go through a softmax. It also flags scores that are multiplied by a mask of zeros and ones, of which a triangle
    is kept (`scores.tril()`), or to which a mask of tiny numbers is added. Scores are the product of queries and keys,
    or what a learned map gives, if the softmax of it weights values: attention that pools.

    ## Why it matters

    The softmax takes the exponential: a score of 0 has weight 1 before normalisation, as an average key has. So the
    masked keys are attended to like any other: padding leaks into the result, and a decoder sees the future.
    `-1e-9` is `-1e9` with a slip of one character. The model trains all the same.

    ## Example

    ```python
    scores = scores.masked_fill(mask == 0, -1e-9)
    weights = scores.softmax(dim=-1)
    ```

    Use instead:

    ```python
    scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    ```

    ## Fix

    Fills with `torch.finfo(scores.dtype).min`, or with the smallest number of `torch.float32` where the scores are
    cast to it there. Where the scores have no name and the mask is causal, it fills with `float("-inf")`: a causal
    mask leaves each row a key. The fix is *unsafe* because the module computes something else afterwards, on purpose.
    Relation *corrected*: before, a token that is masked changes the result; after, it does not.

    ## When it stays silent

    - Scores that are filled with 0 were masked in another way as well, on every path through the code: by a fill, by
      something that is added to them, or in code of another file.
    - The mask hides whole rows, or is computed from the scores themselves, as where they are NaN.
    - The weights are multiplied by the mask again and divided by their sum, as a masked softmax may be written.
    - What scores are multiplied by is a mask by its name alone, which says that it is soft, learned or of whole rows.
    - What is filled does not go into a softmax: similarities, features, linear attention, attention by a sigmoid.
    - The value is not known. The default of a parameter is, unless a call in the project may hand another.

    ## References

    - [awslabs/gluonts#1401](https://github.com/awslabs/gluonts/pull/1401): `-1e-9` for `-1e9`
    - [georg-wolflein/good-features#1](https://github.com/georg-wolflein/good-features/pull/1): scores times a mask
    """

    code = "MHA111"
    name = "mask-value-masks-nothing"
    severity = "error"
    finds = "scores masked with about 0: `-1e-9` for `-1e9`"
    why = "The softmax gives a score of about 0 the weight of an average key: what is filled with it is not masked."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask == 0, -1e-9)\n"
        "    return s.softmax(-1) @ v\n",
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask, 0)\n"
        "    return s.softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask == 0, -1e9)\n"
        "    return s.softmax(-1) @ v\n",
        "def attend(q, k, v, mask, bias):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask, 0) + bias\n"
        "    return s.softmax(-1) @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Unmasked]]:
        found: dict[ast.expr, list[tuple[Masking, bool]]] = {}
        for operation in model.everywhere():
            scores = operation.args[0] if operation.name == "softmax" and operation.args else None
            if not isinstance(scores, Tensor):
                continue
            for masking in scores.masked:
                alone = _is_alone(scores.masked) and "scores" in scores.roles and masking.kind != "times"
                if masking.node is not None:
                    found.setdefault(masking.node, []).append((masking, alone))
        for softmax in model.weighed:  # and what it gave was not normalised again
            for masking in softmax.masked:
                if masking.node is not None:
                    found.setdefault(masking.node, []).append((masking, _is_alone(softmax.masked)))
        for node, maskings in found.items():
            tiny = all(_masks_nothing(masking, alone=True) for masking, _ in maskings)
            handed = {masking.default for masking, _ in maskings if masking.default is not None}
            if not tiny or any(is_handed(default, model.names, model.defined_in) for default in handed):
                continue
            if any(_masks_nothing(masking, alone=alone) for masking, alone in maskings):
                if node in model.abroad:
                    yield from _handed_over(node, model, places)
                else:
                    yield _hit(node, maskings[0][0], model, places)


def _handed_over(node: ast.expr, model: FileModel, places: Places) -> Iterator[Hit[Unmasked]]:
    """Yield the hits at calls of another module, which are handed the number that its ``node`` fills scores with."""
    told: set[ast.expr] = set()
    for seen in (seen for (_, at), seen in model.led.items() if at is node):
        for fill in seen:
            written, value = filling(node, fill.led[0].names, places), fill.argument(2, "value")
            if fill.name != "masked_fill" or written is None or value is None:
                continue
            place = handed_over(fill, written.value, partial(operator.eq, value), plain=True)
            factor = as_factor(value)
            if place is None or place in told or factor is None or factor.constant is None:
                continue
            told.add(place)
            shown = number_text(factor.constant, place, places)
            message = f"scores are masked with {shown}, which the softmax gives the weight of an average key"
            yield Hit(place, place, message, fill.symbol, evidence=Unmasked(node, None, elsewhere=True))


def _is_alone(maskings: frozenset[Masking]) -> bool:
    """Nothing else masks the scores; a fill of the mask that is added to them is no second way."""
    return sum(masking.kind != "mask" for masking in maskings) == 1


def _masks_nothing(masking: Masking, *, alone: bool) -> bool:
    if masking.kind == "times":
        return alone
    if masking.kind == "add":  # a mask of zeros and of such numbers; one of zeros and ones is told by another rule
        return alone and masking.numbers is not None and all(abs(number) <= TINY for number in masking.numbers)
    if masking.kind != "fill" or masking.numbers is None:
        return False
    return all(abs(number) <= TINY and (alone or number) for number in masking.numbers)


def _hit(node: ast.expr, masking: Masking, model: FileModel, places: Places) -> Hit[Unmasked]:
    seen = model.operations.get(node)
    symbol = seen[0].symbol if seen else ""
    written = filling(node, model.names, places) if masking.kind == "fill" else None
    if masking.kind == "times" or masking.numbers is None:
        message = "scores are multiplied by a mask before the softmax: a score of 0 is not masked"
    else:
        number = max(masking.numbers, key=abs)
        shown = number_text(number, None if written is None else written.value, places)
        message = f"scores are masked with {shown}, which the softmax gives the weight of an average key"
    place = node if written is None else written.value
    return Hit(place, place, message, symbol, evidence=Unmasked(node, written))
