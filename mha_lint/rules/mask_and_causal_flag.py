"""MHA112: a mask and the causal flag, which exclude each other."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.handing import handed_over
from mha_lint.model.keys import Key
from mha_lint.model.values import NONE, Const, Tensor, Unknown, Value
from mha_lint.rules.asking import is_given
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument
from mha_lint.vocabulary import MASKS

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.conditions import Condition
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places


class MaskAndCausalFlag(Rule):
    """## What it does

    Flags `scaled_dot_product_attention` that is given `attn_mask` together with `is_causal=True` where both can be set
    at once. It also flags one flag of the code's own that decides about both: there is a mask where it is set, and none
    where it is not.

    ## Why it matters

    The two exclude each other. The reference implementation raises a RuntimeError; some of the fused kernels run, and
    do not say which of the two they apply. So the same call fails with one kernel and passes with another, which torch
    chooses by the device, the dtype, its own version, and whether the mask needs a gradient.

    ## Example

    ```python
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)
    ```

    Use instead:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    ```

    ## Fix

    There is none. The code does not say whether the mask is causal already, or must be joined with a causal one.
    `--verify`, `--fix` and `--diff` show the code wrong by a call that is given a mask, and raises.

    ## When it stays silent

    - The mask is None wherever the flag is set: `is_causal=mask is None`, a branch, an assertion.
    - The value of the flag is not known: it is a parameter, or an attribute that the caller chooses. A flag can
      be True where sizes tell it, or what is None, and not the mask: `cache is None and t > 1`.

    ## References

    - [The documentation](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html):
      "an error is thrown if both attn_mask and is_causal are set"
    - [jingyaogong/minimind#382](https://github.com/jingyaogong/minimind/issues/382),
      [nari-labs/dia#170](https://github.com/nari-labs/dia/pull/170)
    """

    code = "MHA112"
    name = "mask-and-causal-flag"
    severity = "error"
    finds = "`attn_mask` and `is_causal=True` that can be set at once"
    why = "The two exclude each other: torch raises a RuntimeError, or, in some kernels, drops one without a word."
    shown_by = ("raises",)
    no_fix = "the code does not say whether the mask is causal already, or must be joined with a causal one"
    invalid: ClassVar = (
        "import torch.nn.functional as F\ndef attend(q, k, v, mask=None):\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)\n",
        "import torch.nn.functional as F\ndef attend(q, k, v, mask=None):\n    both = None\n"
        "    if mask is not None:\n        if mask.dim() == 2:\n            both = mask.bool()[:, None, None]\n"
        "        else:\n            both = mask.bool()[:, None]\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=both, is_causal=True)\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\ndef attend(q, k, v, mask=None):\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)\n",
        "import torch.nn.functional as F\ndef attend(q, k, v, mask=None):\n"
        "    if mask is not None:\n        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=True)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for node, seen in model.operations.items():
            if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention":
                continue
            always = _is_true(argument(node, 5, "is_causal"))
            if any(_sets_both(each, always=always) for each in seen) or _go_together(seen):
                mask = argument(node, 3, "attn_mask")
                name = f"`{mask.id}`" if isinstance(mask, ast.Name) else "a mask"
                message = f"{name} and `is_causal=True` can be set at once"
                yield Hit(node.func, node, message, seen[0].symbol)
        yield from _handed_over(model)


def _handed_over(model: FileModel) -> Iterator[Hit[None]]:
    """Yield the hits at calls of other modules, which are handed the flag although they may be handed a mask."""
    told: set[ast.expr] = set()
    for (call, node), seen in model.led.items():
        if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention":
            continue
        together = _go_together(seen)
        for each in seen:
            if not together and not _sets_both(each, always=False):
                continue
            value = each.argument(5, "is_causal")
            flag = handed_over(each, argument(node, 5, "is_causal"), partial(operator.eq, value), plain=True)
            if flag is not None and call not in told:
                told.add(call)
                yield Hit(flag, flag, "the flag can be set where a mask is handed over as well", each.symbol)


def _is_true(flag: ast.expr | None) -> bool:
    return isinstance(flag, ast.Constant) and flag.value is True


def _go_together(seen: list[OperationSeen]) -> bool:
    """Tell whether a call hands over a mask wherever a flag is set, and None wherever it is not.

    Whoever sets the flag that decides about both sets both.
    """
    masks: dict[tuple[ast.expr | None, Key, bool], list[Value | None]] = {}
    for each in seen:
        flag = each.argument(5, "is_causal")
        for key, told in each.truths:
            if isinstance(flag, Unknown) and flag.key is key:
                masks.setdefault((each.caller, key, told), []).append(each.argument(3, "attn_mask"))
    return any(
        told and all(map(_is_there, given)) and set(masks.get((caller, key, False), ())) == {NONE}
        for (caller, key, told), given in masks.items()
    )


def _is_there(mask: Value | None) -> bool:
    """Tell whether a value is a tensor, or something of what a function was given."""
    named = isinstance(mask, Unknown) and mask.key is not None and not mask.key.of_result
    return named or isinstance(mask, Tensor)


def _sets_both(seen: OperationSeen, *, always: bool) -> bool:
    """Tell whether a mask is set on a path on which the flag is; ``always`` where the call itself says True.

    Then whatever stands as the mask, if only the result of an unknown call, would have to be None in every call.
    """
    mask, flag = seen.argument(3, "attn_mask"), seen.argument(5, "is_causal")
    if flag != Const(True) or any(_asks_for_mask(asked, taken) for asked, taken in seen.conditions):
        return False
    match mask:
        case Tensor():
            return True
        case Unknown(Key() as key):
            return always or is_given(key, seen)
        case Unknown():
            return always
        case _:
            return False


_LIKE = frozenset({"dim", "ndim", "shape", "size", "dtype"})  # asks what a mask is like, where it is there


def _asks_for_mask(asked: Condition, taken: bool) -> bool:
    """Tell whether a condition may ask if there is a mask; a condition under which there is one does not count."""
    if asked.attributes & _LIKE:
        return False
    return asked.says(MASKS) and (taken or not asked.is_none)
