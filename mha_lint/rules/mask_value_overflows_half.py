"""MHA108: scores filled with a number that float16 can't hold."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.default_numbers import is_handed
from mha_lint.model.filling import filled_masks, filling, softmaxed
from mha_lint.model.handing import handed_over
from mha_lint.model.marks import Default, Masking
from mha_lint.model.values import Tensor, as_factor
from mha_lint.rules.asking import number_text
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import AUTOCAST, PRECISION

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.filling import Filling
    from mha_lint.syntax.places import Places

    Fills = tuple[Filling | None, tuple[OperationSeen, ...]]  # how the fill is written; what was seen of it

_FILLS = frozenset({"masked_fill", "full", "new_full", "full_like"})
HALF_MAX = 65504.0  # of float16; bfloat16 reaches as far as float32


class MaskValueOverflowsHalf(Rule):
    """## What it does

    Flags `masked_fill(mask, -1e9)`, and any other finite number beyond ±65504, of attention scores before a softmax. A
    mask that is filled so, or made by `torch.full` and the like, and is added to the scores later, is flagged where the
    number is written, if in another file than the scores.

    ## Why it matters

    float16 ends at 65504. `masked_fill` doesn't round: it raises `RuntimeError: value cannot be converted to type
    at::Half without overflow` as soon as the module runs in half precision or under autocast, where the product of
    queries and keys is float16. Code that was only ever tested in float32 or bfloat16 fails at its first user who
    turns on mixed precision.

    ## Example

    ```python
    scores = scores.masked_fill(mask == 0, -1e9)
    ```

    Use instead:

    ```python
    scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
    ```

    ## Fix

    Fills with `torch.finfo(scores.dtype).min`. Where the scores have no name there and the mask is causal, it fills
    with `float("-inf")`: a causal mask leaves each row a key. Relation *repaired*: wherever the code ran before, it
    computes the same; in float16, where it raised, it computes what a fill with the smallest number means. The fix is
    *unsafe* where another mask is added to the same scores, and where `float("-inf")` is written beside any other
    mask: rows that are masked as a whole may come out otherwise. So it is where a mask is filled. A mask that is given
    has no fix: it may hold whole numbers, for which `finfo` raises.

    ## When it stays silent

    - The scores were cast to float32 on the way (`.float()`, `.to(torch.float32)`). To cast queries and keys is not
      enough: under autocast their product is float16 all the same, unless the function switches autocast off.
    - The value is the default of a parameter, and a call in the project may hand another.
    - The value is chosen by dtype: `torch.finfo(scores.dtype)`, a conditional on it; or the code asserts which dtype it
      takes.
    - `scores[mask] = -1e9`, `torch.where(mask, scores, -1e9)` and sums with `-1e9 * mask`: these round to minus
      infinity in float16, and raise nothing.
    - What is filled does not go into a softmax.
    - A mask is filled that is float32, boolean, or of whole numbers: one that is made by `torch.zeros` and the like
      with no `dtype`, compared, or cast.

    ## References

    - [facebookresearch/fairseq#3575](https://github.com/facebookresearch/fairseq/issues/3575)
    - [NVIDIA/apex#1052](https://github.com/NVIDIA/apex/issues/1052)
    """

    code = "MHA108"
    name = "mask-value-overflows-half"
    severity = "warning"
    finds = "`masked_fill(mask, -1e9)`, which raises in float16"
    why = "float16 ends at 65504: in half precision, or under autocast, the fill raises a RuntimeError."
    applicability = "safe"
    relation = "repaired"
    invalid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask == 0, -1e9)\n"
        "    return s.softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s = s.masked_fill(mask == 0, -1e4)\n"
        "    return s.softmax(-1) @ v\n",
        "def attend(q, k, v, mask):\n    s = (q @ k.transpose(-2, -1)).float()\n"
        "    s = s.masked_fill(mask == 0, -1e9)\n    return s.softmax(-1) @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Fills]]:
        normalised, added = softmaxed(model.everywhere()), filled_masks(model.everywhere())
        for node, seen in model.operations.items():
            fills = [fill for fill in seen if fill.name in _FILLS and isinstance(node, ast.Call)]
            overflowing = [fill for fill in fills if _overflows(fill)]
            of_scores = node in normalised
            if not overflowing or not (of_scores or node in added) or _sets_autocast(node, places):
                continue
            if not of_scores and len(overflowing) < len(fills):
                continue  # of masks the code may tell more on one path than on another
            given = {default for default in map(_default, overflowing) if default is not None}
            if any(is_handed(default, model.names, model.defined_in) for default in given):
                continue
            written = filling(node, model.names, places)
            place = node if written is None else written.value
            number = _number(overflowing[0])
            assert number is not None  # it overflows
            shown = number_text(number, None if written is None else written.value, places)
            what = "scores are" if of_scores else "a mask that is added to scores is"
            message = f"{what} filled with {shown}, which float16 can't hold: its numbers end at {HALF_MAX:g}"
            yield Hit(place, node, message, overflowing[0].symbol, evidence=(written, tuple(fills)))
        yield from _handed_over(model, normalised, places)


def _handed_over(model: FileModel, normalised: set[ast.expr], places: Places) -> Iterator[Hit[Fills]]:
    """Yield the hits at calls of other modules, which are handed a number and fill scores with it."""
    told: set[ast.expr] = set()
    for (call, node), seen in model.led.items():
        if node not in normalised or not isinstance(node, ast.Call) or _sets_autocast(call, places):
            continue
        for fill in seen:
            value = fill.argument(2, "value")
            if fill.name != "masked_fill" or value is None or not _overflows(fill):
                continue
            written = filling(node, fill.led[0].names, places)
            place = (
                None if written is None else handed_over(fill, written.value, partial(operator.eq, value), plain=True)
            )
            if place is None or place in told or any(_sets_autocast_inside(step.function) for step in fill.led):
                continue
            told.add(place)
            number = _number(fill)
            assert number is not None  # it overflows
            shown = number_text(number, place, places)
            message = f"scores are filled with {shown}, which float16 can't hold: its numbers end at {HALF_MAX:g}"
            yield Hit(place, place, message, fill.symbol, evidence=(None, (fill,)))


def _sets_autocast_inside(function: ast.AST) -> bool:
    return bool(names_said(AUTOCAST, function))


def _sets_autocast(node: ast.expr, places: Places) -> bool:
    """Tell whether the function around says where autocast is on: what it casts before the product may stay so."""
    function = places.function(node)
    return function is not None and names_said(AUTOCAST, function)


def _number(fill: OperationSeen) -> float | None:
    masking = _masking(fill)
    if masking is not None and masking.numbers is not None:
        return next(iter(masking.numbers))
    factor = as_factor(fill.argument(2, "value")) if fill.name == "masked_fill" else None
    return None if factor is None else factor.constant


def _default(fill: OperationSeen) -> Default | None:
    masking = _masking(fill)
    return None if masking is None else masking.default


def _masking(fill: OperationSeen) -> Masking | None:
    masked = fill.result.masked if isinstance(fill.result, Tensor) else frozenset[Masking]()
    return next((each for each in masked if each.node is fill.node), None)


def _overflows(fill: OperationSeen) -> bool:
    number = _number(fill)
    if number is None or not HALF_MAX < abs(number) < math.inf:
        return False
    single = isinstance(fill.result, Tensor) and fill.result.single
    asked = [condition for condition, taken in fill.conditions if not (taken and condition.is_none)]  # no type is given
    return not single and not any(condition.says(PRECISION) for condition in asked)
