"""MHA115: attention that runs over the heads of each token, because these lie where it takes the tokens to be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.rules.asking import in_order
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import last_name, walk
from mha_lint.vocabulary import ACROSS_HEADS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.axes import HeadsSeen
    from mha_lint.syntax.places import Places


class Swapped(Struct, frozen=True):
    """The evidence: the call, or the product, and where it takes the heads to be, counted from the end.

    ``at`` is the place of the queries among the arguments; a call that is given the module first turns its result.
    """

    node: ast.expr
    fused: bool
    wanted: int
    at: int


class TokensAndHeadsSwapped(Rule):
    """## What it does

    Flags attention whose queries and keys have tokens and heads in each other's place: `(b, t, h, d)` given to
    `scaled_dot_product_attention`, to FlexAttention, to an attention interface of transformers, to
    `q @ k.transpose(-2, -1)` or to `einsum("bhid,bhjd->bhij", q, k)`, and `(b, h, t, d)` given to `flash_attn_func` or
    to the attention of xFormers.

    ## Why it matters

    The shapes fit, and nothing raises. Each token attends to its own heads and to no other token: no information
    passes between tokens at all. The model trains all the same, as well as one without attention does.

    ## Example

    ```python
    q = self.q(x).view(b, t, heads, -1)
    k = self.k(x).view(b, t, heads, -1)
    v = self.v(x).view(b, t, heads, -1)
    y = F.scaled_dot_product_attention(q, k, v).reshape(b, t, -1)
    ```

    Use instead:

    ```python
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1)
    ```

    ## Fix

    Transposes queries, keys and values where the call takes them, and the result back, so that what comes after is laid
    out as before; an attention interface turns its result itself. The fix is *unsafe* because the module computes
    something else afterwards, on purpose. Relation *corrected*: before, no other token of an entry changes the result
    at a token; after, they do. Of products that are written by hand the values' is transposed back; there is no fix
    where it can't be told which product takes the values.

    ## When it stays silent

    - It is not known which dimension holds the heads. It is known where the width of a projection was split into them.
    - The name of the class, the method or the function says that attention over channels or heads is meant.
    - The same code is given both layouts.
    - There is one token, or one head.
    - Nothing reads the scores: what is computed in vain is not wrong.

    ## References

    - [NVlabs/FoundationStereo#217](https://github.com/NVlabs/FoundationStereo/issues/217)
    - [mlfoundations/open_lm#110](https://github.com/mlfoundations/open_lm/issues/110)
    - [Project-MONAI/MONAI#7977](https://github.com/Project-MONAI/MONAI/issues/7977)
    - [Dao-AILab/flash-attention#1391](https://github.com/Dao-AILab/flash-attention/issues/1391)
    """

    code = "MHA115"
    name = "tokens-and-heads-swapped"
    severity = "error"
    finds = "`(b, t, h, d)` given to attention that takes `(b, h, t, d)`, or the reverse"
    why = "Each token attends to its own heads and to no other token, and nothing raises."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, c):\n        super().__init__()\n        self.qkv, self.out = nn.Linear(c, 3 * c), "
        "nn.Linear(c, c)\n\n    def forward(self, x):\n        b, t, c = x.shape\n"
        "        q, k, v = self.qkv(x).view(b, t, 3, 4, c // 4).unbind(2)\n"
        "        return self.out(F.scaled_dot_product_attention(q, k, v).reshape(b, t, c))\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, c):\n        super().__init__()\n        self.qkv, self.out = nn.Linear(c, 3 * c), "
        "nn.Linear(c, c)\n\n    def forward(self, x):\n        b, t, c = x.shape\n"
        "        q, k, v = self.qkv(x).view(b, t, 3, 4, c // 4).transpose(1, 3).unbind(2)\n"
        "        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Swapped]]:
        for node, seen in in_order(model.axes.attention):
            if node in model.abroad or not _are_swapped(seen) or _is_meant(node, seen, places):
                continue
            if not seen[0].fused and _comes_to_nothing(node, places):
                continue
            wanted = seen[0].wanted
            given, taken = ("(b, t, h, d)", "(b, h, t, d)")[:: 1 if wanted == -3 else -1]
            what = f"`{last_name(node.func)}`" if isinstance(node, ast.Call) else "this product"
            message = f"{what} takes `{taken}`, and is given `{given}`: each token attends to its own heads alone"
            first = node.func if isinstance(node, ast.Call) else node
            yield Hit(first, node, message, seen[0].symbol, evidence=Swapped(node, seen[0].fused, wanted, seen[0].at))


def _comes_to_nothing(node: ast.expr, places: Places) -> bool:
    """Tell whether the scores are given a name that nothing reads but what gives it a new value."""
    name, function = _named(places.statement(node)), places.function(node)
    if name is None or function is None:
        return False
    reads = [each for each in walk(function) if isinstance(each, ast.Name) and each.id == name]
    return all(_named(places.statement(each)) == name for each in reads)


def _named(statement: ast.stmt | None) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case _:
            return None


def _are_swapped(seen: list[HeadsSeen]) -> bool:
    told = [each.swapped for each in seen if each.swapped is not None]
    return bool(told) and all(told)


def _is_meant(node: ast.expr, seen: list[HeadsSeen], places: Places) -> bool:
    """Names say that attention over channels or heads is meant."""
    words = [name for each in seen for name in each.symbol.split(".")]
    owner = places.class_(node)
    words += [] if owner is None else [owner.name]
    return any(is_said(ACROSS_HEADS, word) for word in words)
