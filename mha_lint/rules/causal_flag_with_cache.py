"""MHA109: the causal flag where the keys are longer than the queries."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.conditions import Condition, has_earlier
from mha_lint.model.handing import handed_over
from mha_lint.model.keys import Key
from mha_lint.model.values import Const, Tensor, Unknown, Value
from mha_lint.rules.asking import is_given
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import EARLIER, LENGTH, MASKS, NO_LENGTH, STAGE

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places


class CausalFlagWithCache(Rule):
    """## What it does

    Flags `scaled_dot_product_attention` with `is_causal=True` on a path on which the keys come from a cache and
    nothing compares the lengths: there can be more keys than queries.

    ## Why it matters

    The flag's mask is aligned at its top left: query 0 sees key 0 alone, whatever lies in the cache. With one new token
    and a cache of a hundred, that token attends to the oldest key and to nothing else; nothing raises, and the text
    that is generated repeats itself.

    ## Example

    ```python
    k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ```

    Use instead:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] == k.shape[2])  # one token at a time, or no cache
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(q.shape[2], k.shape[2]))
    ```

    `causal_lower_right` is in `torch.nn.attention.bias`.

    ## Fix

    There is none. The code does not say whether one token or several are decoded at a time.

    ## When it stays silent

    - The flag, or the path, depends on the lengths, on whether there is a cache, or on the stage of decoding. To
      compare anything else, such as the numbers of heads, tells nothing of the keys. Neither does it to ask for one
      token alone, where the new keys are joined to a cache that is there and no mask is asked for: several tokens may
      come behind it.
    - The queries come from the cache too.
    - The value of the flag is not known: it is a parameter of the function.

    ## References

    - [pytorch/pytorch#144858](https://github.com/pytorch/pytorch/issues/144858)
    - [pytorch/pytorch#108108](https://github.com/pytorch/pytorch/issues/108108)
    - [lucidrains/x-transformers#187](https://github.com/lucidrains/x-transformers/issues/187)
    """

    code = "MHA109"
    name = "causal-flag-with-cache"
    severity = "warning"
    finds = "`is_causal=True` on keys from a cache, whatever their number"
    why = "The flag's mask is aligned top left: a new token sees the oldest keys of the cache, and not its own."
    shown_by = ("cached equals full",)
    no_fix = "the code does not say whether one token or several are decoded at a time"
    invalid: ClassVar = (
        "import torch.nn.functional as F\ndef attend(q, k, v, cache):\n    k, v = cache.update(k, v)\n"
        "    return F.scaled_dot_product_attention(q, k, v, is_causal=True)\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\ndef attend(q, k, v, cache):\n    k, v = cache.update(k, v)\n"
        "    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] == k.shape[2])\n",
        "import torch.nn.functional as F\ndef attend(q, k, v, cache=None):\n    causal = True\n"
        "    if cache is not None:\n        k, v = cache.update(k, v)\n        causal = False\n"
        "    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for node, seen in model.operations.items():
            if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention":
                continue
            hiding = [each for each in seen if _hides_the_cache(each)]
            if any(names_said(EARLIER, function) for each in hiding for function in _around(each, places)):
                flag = argument(node, 5, "is_causal")
                message = "`is_causal` is set although the keys come from a cache, and can be more than the queries"
                yield Hit(node.func if flag is None else flag, node if flag is None else flag, message, seen[0].symbol)
        yield from _handed_over(model, places)


def _handed_over(model: FileModel, places: Places) -> Iterator[Hit[None]]:
    """Yield the hits at calls of other modules, which are handed the keys of a cache, or the flag."""
    told: set[ast.expr] = set()
    for (call, node), seen in model.led.items():
        if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention" or call in told:
            continue
        function = places.function(call)
        if function is None or not names_said(EARLIER, function):
            continue
        if any(_hides_the_cache(each) and _is_ours(each, node) for each in seen):
            told.add(call)
            message = "the keys come from a cache, and can be more than the queries, where `is_causal` is set"
            yield Hit(call, call, message, seen[0].symbol)


def _is_ours(seen: OperationSeen, node: ast.Call) -> bool:
    """Tell whether this module hands over the keys of the cache, or the flag."""
    if handed_over(seen, argument(node, 1, "key"), _is_cached) is not None:
        return True
    value = seen.argument(5, "is_causal")
    return handed_over(seen, argument(node, 5, "is_causal"), partial(operator.eq, value), plain=True) is not None


def _around(seen: OperationSeen, places: Places) -> list[ast.AST]:
    """The function that makes the call, and the one that calls this function, where it is known: which name a cache."""
    functions = [places.function(node) for node in (seen.node, seen.caller) if node is not None]
    return [function for function in functions if function is not None]


def _hides_the_cache(seen: OperationSeen) -> bool:
    """Tell whether the flag may be set while the keys come from a cache, on a path that compares no lengths."""
    query, key = seen.argument(0, "query"), seen.argument(1, "key")
    if not _is_cached(key) or _is_cached(query):
        return False
    if not _may_be_set(seen.argument(5, "is_causal"), seen):
        return False
    guards = [asked for asked, _ in seen.conditions if _is_guard(asked)]
    return not guards or (all(map(_counts_to_one, guards)) and _is_joined(key, seen))


def _is_cached(value: Value | None) -> bool:
    return isinstance(value, Tensor) and "cached" in value.roles


def _may_be_set(flag: Value | None, seen: OperationSeen) -> bool:
    """Tell whether the flag is True, or a value of the constructor: then it depends on nothing in the call."""
    match flag:
        case Const(True):
            return True
        case Unknown(Key() as key):
            return not key.of_result and not is_given(key, seen) and (key, False) not in seen.truths
        case _:
            return False


def _is_guard(asked: Condition) -> bool:
    """Tell whether a condition compares lengths, or asks for the stage of decoding."""
    if asked.says(STAGE):
        return True
    return asked.compares and not asked.quotes and (asked.says(LENGTH) or not asked.says(NO_LENGTH))


def _counts_to_one(asked: Condition) -> bool:
    """Tell whether a condition asks for one token: it says nothing of several tokens behind a cache."""
    return asked.question is not None and asked.question.literals == ((int, 1),)


def _is_joined(key: Value | None, seen: OperationSeen) -> bool:
    """Tell whether the new keys are joined to earlier ones that are there, and no mask was asked for instead.

    A cache object may be empty, as where a prompt is read.
    """
    joined = isinstance(key, Tensor) and "projection" in key.roles
    return joined and has_earlier(seen.conditions) and not any(asked.says(MASKS) for asked, _ in seen.conditions)
