"""MHA203: a causal mask that the causal flag of fused attention stands for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.values import NONE, Const, Value, as_factor
from mha_lint.rules.asking import in_order
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import ATTENDS, always_masks_just_the_future
from mha_lint.syntax.nodes import Function, argument, dotted, is_starred, walk

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places


class CausalMask(Struct, frozen=True):
    """The evidence: the call, the mask as it is written there, and whether weights may be dropped."""

    call: ast.Call
    mask: ast.expr
    drops: bool


class CausalMaskWhereFlagDoes(Rule):
    """## What it does

    Flags `scaled_dot_product_attention` that is given the causal mask, and nothing else, as its `attn_mask`, where
    there are as many keys as queries: `is_causal=True` says the same.

    ## Why it matters

    The flash kernel takes no mask. Given one, torch chooses a kernel that reads it from memory, all t × t numbers, and
    computes the upper half of the scores as well, which nobody sees. With the flag no mask is made, kept or read, and
    the kernels skip that half. `torch.compile` does not find this out: it sees a tensor, not what it holds.

    ## Example

    ```python
    mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ```

    Use instead:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ```

    ## Fix

    Hands over the flag instead of the mask, and deletes what was computed for the mask alone. A buffer stays where it
    is: without it, the `state_dict` would lack its key. Relation *equivalent*: another kernel sums in another order, so
    results differ by rounding, which validation bounds by a run in float64.

    The fix is *unsafe* where weights may be dropped (`dropout_p` that is not known to be 0). On the CPU the same
    numbers are drawn. On a GPU the kernels that take a mask and those that take the flag draw others.

    ## When it stays silent

    - There may be more keys than queries, as behind a cache: the mask of the flag is aligned at the top left.
    - The mask hides more, or less, on any path: padding, a window, a prefix that all tokens see.
    - The mask begins at a later query: `mask[start : start + t, :t]`.
    - The mask is handed in by a caller, comes from a file that was not read, or lies in an attribute that is set
      outside of the constructor.
    - The causal flag is set already, or may be.

    ## References

    - [`scaled_dot_product_attention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
    - [keras-team/keras#23186](https://github.com/keras-team/keras/pull/23186)
    """

    code = "MHA203"
    name = "causal-mask-where-flag-does"
    severity = "warning"
    finds = "a causal `attn_mask` where `is_causal=True` does"
    why = "With a mask torch can't take the flash kernel, and computes the half of the scores that the mask hides."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, c):\n        super().__init__()\n        self.q = nn.Linear(c, c)\n"
        "        self.k = nn.Linear(c, c)\n\n    def forward(self, x, seen=None):\n        b, t, c = x.shape\n"
        "        mask = torch.ones(t, t, dtype=torch.bool).tril()\n"
        "        return F.scaled_dot_product_attention(self.q(x), self.k(x), x, attn_mask=mask)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("attn_mask=mask", "is_causal=True"),
        invalid[0].replace("attn_mask=mask", "attn_mask=mask & seen[:, None]"),
        invalid[0].replace("self.k(x), x", "self.k(seen), seen"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[CausalMask]]:
        for node, seen in in_order(model.operations):
            if seen[0].name != ATTENDS or not isinstance(node, ast.Call) or not _is_of_torch(node, model):
                continue
            mask = argument(node, 3, "attn_mask")
            if mask is None or is_starred(node) or not _is_always_causal(seen, model):
                continue
            if _may_be_set_anew(mask, places, model):
                continue
            drops = not all(_is_nothing(each.argument(4, "dropout_p")) for each in seen)
            message = "the mask is the causal one, which `is_causal=True` stands for"
            yield Hit(mask, mask, message, seen[0].symbol, evidence=CausalMask(node, mask, drops))


def _is_of_torch(node: ast.Call, model: FileModel) -> bool:
    name = model.names.qualify(node.func) or ""
    return name.startswith("torch.") and name.endswith(f".{ATTENDS}")


def _is_always_causal(seen: list[OperationSeen], model: FileModel) -> bool:
    """Tell whether the mask is the causal one on every path, and no flag is set besides."""
    unset = all(each.argument(5, "is_causal") in (None, Const(False)) for each in seen)
    return unset and always_masks_just_the_future(seen, model)


def _is_nothing(rate: Value | None) -> bool:
    if rate is None or rate == NONE:
        return True
    factor = as_factor(rate)
    return factor is not None and factor.constant == 0


# --- attributes that others set --------------------------------------------------------------------------------------


def _may_be_set_anew(mask: ast.expr, places: Places, model: FileModel) -> bool:
    """Tell whether the mask is made of an attribute that the file sets outside of a constructor."""
    names = _attributes_behind(mask, places.function(mask))
    if not names:
        return False
    for node in walk(model.module.tree):
        if isinstance(node, ast.Attribute) and node.attr in names and _is_changed(node, places):
            function = places.function(node)
            if function is None or function.name != "__init__":
                return True
    return False


def _attributes_behind(mask: ast.expr, function: Function | None) -> set[str]:
    """The names of the attributes that a mask is computed from, through the variables of the function."""
    found: set[str] = set()
    known: set[str] = set()
    pending = [mask]
    while pending:
        for node in walk(pending.pop()):
            if isinstance(node, ast.Attribute) and dotted(node.value) == "self":
                found.add(node.attr)
            if isinstance(node, ast.Name) and node.id not in known and function is not None:
                known.add(node.id)
                pending += _values(node.id, function)
    return found


def _values(name: str, function: Function) -> Iterator[ast.expr]:
    """What a variable is given in a function."""
    for node in walk(function):
        match node:
            case ast.Assign(targets=targets, value=value):
                if any(isinstance(each, ast.Name) and each.id == name for target in targets for each in walk(target)):
                    yield value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                yield value
            case ast.AugAssign(target=ast.Name(id=target), value=value) if target == name:
                yield value


def _is_changed(node: ast.Attribute, places: Places) -> bool:
    """Tell whether an attribute, or a part of it, is set there."""
    if not isinstance(node.ctx, ast.Load):
        return True
    parent = places.parent(node)
    return isinstance(parent, ast.Subscript) and parent.value is node and not isinstance(parent.ctx, ast.Load)
