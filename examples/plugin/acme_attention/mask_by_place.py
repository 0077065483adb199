"""ACM001: a mask, a rate or a flag that fused attention is given by its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.rules import Hit, Rule
from mha_lint.syntax.nodes import is_starred

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places

TENSORS = 3  # query, key and value go by place


class MaskByPlace(Rule):
    """## What it does

    Flags `F.scaled_dot_product_attention(q, k, v, mask)`: what follows the values is given by its place.

    ## Why it matters

    The signature is long, and `None, 0.0, True` tells a reader nothing. In our house these go by name.

    ## Example

    ```python
    y = F.scaled_dot_product_attention(q, k, v, mask, 0.1)
    ```

    Use instead:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.1)
    ```

    ## Fix

    Writes the names. Relation *equivalent*: the call is the same.

    ## When it stays silent

    - The function is another one of that name, or is not known to be torch's.
    - The arguments are starred: it is not known which is which.
    """

    code = "ACM001"
    name = "mask-by-place"
    severity = "info"
    finds = "a mask, a rate or a flag of fused attention that is given by its place"
    why = "What follows the values in a call goes by name in our house."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, mask):\n"
        "    return F.scaled_dot_product_attention(q, k, v, mask)\n",
        "from torch.nn.functional import scaled_dot_product_attention as attend_to\n\n\ndef attend(q, k, v):\n"
        "    return attend_to(q, k, v, None, 0.0, True)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("v, mask)\n", "v, attn_mask=mask)\n"),
        invalid[0].replace("v, mask)\n", "*v, mask)\n"),
        invalid[0].replace("torch.nn.functional", "ours.functional"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[ast.Call]]:
        for node, seen in model.operations.items():
            if seen[0].name != "scaled_dot_product_attention" or not isinstance(node, ast.Call):
                continue
            if not (model.names.qualify(node.func) or "").startswith("torch."):
                continue
            if is_starred(node) or len(node.args) <= TENSORS:
                continue
            message = "this is given to fused attention by its place"
            yield Hit(node.args[TENSORS], node.args[-1], message, seen[0].symbol, evidence=node)
