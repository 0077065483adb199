"""MHA202: weights that ``nn.MultiheadAttention`` computes and nobody reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.multihead import MultiheadCall, calls
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument, is_number, is_starred, walk

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places

_HOOKS = ("register_forward_hook", "register_forward_pre_hook", "register_module_forward_hook")


class Unused(Struct, frozen=True):
    """The evidence: the call, what it says of the weights, and whether the fix may change random numbers or masks."""

    call: ast.Call
    said: ast.expr | None
    drops: bool
    hinted: bool


class UnusedAttentionWeights(Rule):
    """## What it does

    Flags calls of `nn.MultiheadAttention` whose weights nobody reads: `y, _ = self.attend(x, x, x)`,
    `self.attend(x, x, x)[0]`, and the same with `need_weights=True` written out.

    ## Why it matters

    The layer gives its weights unless it is told not to. To have them it computes scores, softmax and product one by
    one, keeps the (b, h, t, s) weights in memory, and averages them over the heads. With `need_weights=False` it calls
    `scaled_dot_product_attention`, whose kernels do neither.

    ## Example

    ```python
    y, _ = self.attend(x, x, x)
    ```

    Use instead:

    ```python
    y, _ = self.attend(x, x, x, need_weights=False)
    ```

    ## Fix

    Says `need_weights=False`. The call still gives two values, of which the second is None. Relation *equivalent*: the
    sums are taken in another order, so results differ by rounding, which validation bounds by a run in float64.

    The fix is *unsafe* where the layer drops weights, or may: on a GPU, the fused kernels draw other random numbers
    than dropout on its own. On the CPU they are the same. It is unsafe too where the call passes `is_causal`, since
    only without weights does the layer believe it and leave the mask aside.

    At the edges torch itself differs, and validation refutes the fix where it comes there. Where a mask hides all keys
    from a token, the result of that token is NaN with weights, and finite without them. On the CPU a query that is NaN,
    in attention to another sequence, gives NaN with weights, and a finite result without them. A batch of no entries,
    with a mask, raises without weights.

    ## Where it can be slower

    In evaluation with no gradients, the layer has a fast path of its own, which it takes with weights or without. With
    a mask, that path can take more memory than the one above
    ([pytorch/pytorch#166166](https://github.com/pytorch/pytorch/issues/166166)).

    ## When it stays silent

    - The weights are read, returned or kept, or the name that they have is read anywhere in the function.
    - `need_weights` is not written as `True`: whoever sets it may want the weights.
    - The layer may be something else than torch's own: a subclass, an attribute that is also given another value or
      that is set from outside, a layer that is handed in.
    - The file registers forward hooks, which see the weights.

    ## References

    - [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html):
      "Set need_weights=False to use the optimized scaled_dot_product_attention"
    - [automl/nanoTabPFN#15](https://github.com/automl/nanoTabPFN/pull/15)
    - [lyuwenyu/RT-DETR#678](https://github.com/lyuwenyu/RT-DETR/issues/678)
    - [pytorch/pytorch#181732](https://github.com/pytorch/pytorch/issues/181732)
    """

    code = "MHA202"
    name = "unused-attention-weights"
    severity = "warning"
    finds = "`nn.MultiheadAttention` whose weights nobody reads"
    why = "To give its weights, the layer can't use the fused kernels: it computes and keeps all t × s of them."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Block(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)\n\n    def forward(self, x):\n"
        "        y, _ = self.attend(x, x, x)\n        return x + y\n",
        "from torch import nn\n\n\nclass Block(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)\n\n    def forward(self, x):\n"
        "        return x + self.attend(x, x, x, need_weights=True)[0]\n",
    )
    valid: ClassVar = (
        invalid[0].replace("(x, x, x)", "(x, x, x, need_weights=False)"),
        invalid[0].replace("return x + y", "return x + y, _"),
        invalid[0].replace("nn.MultiheadAttention(", "Attention("),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Unused]]:
        found = list(calls(model.names))
        if not found or any(hook in model.module.text for hook in _HOOKS):
            return
        for each in found:
            call = each.call
            said = argument(call, 4, "need_weights")
            if is_starred(call) or not _asks_for_weights(said) or not _are_dropped(each, places):
                continue
            hinted = argument(call, 7, "is_causal") is not None
            evidence = Unused(call, said, _may_drop(each), hinted)
            yield Hit(call.func, call, "nobody reads the weights that this computes", each.symbol, evidence=evidence)


def _asks_for_weights(said: ast.expr | None) -> bool:
    return said is None or (isinstance(said, ast.Constant) and said.value is True)


def _may_drop(found: MultiheadCall) -> bool:
    """Tell whether the layer drops weights, as far as the calls that make it do not rule it out."""
    rates = [argument(made, 2, "dropout") for made in found.made]
    plain = all(rate is None or (isinstance(rate, ast.Constant) and _is_zero(rate)) for rate in rates)
    return not plain or any(map(is_starred, found.made))


def _is_zero(rate: ast.Constant) -> bool:
    return is_number(rate) and rate.value == 0


# --- what becomes of the weights --------------------------------------------------------------------------------------


def _are_dropped(found: MultiheadCall, places: Places) -> bool:
    """Tell whether nobody reads the second of the two values that the call gives."""
    call = found.call
    parent = places.parent(call)
    match parent:
        case ast.Subscript(value=value) if value is call:
            return _takes_the_first(parent)
        case ast.Assign(targets=[ast.Tuple(elts=[_, second])], value=value) if value is call:
            return _is_never_read(second, found)
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if value is call:
            return _is_replaced_at_once(name, parent, places) or _gives_the_first_alone(name, found, places)
        case _:
            return False


def _takes_the_first(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == 0


def _is_never_read(target: ast.expr, found: MultiheadCall) -> bool:
    """Tell whether a variable of the function is only ever set."""
    if isinstance(target, ast.Starred):
        target = target.value
    if not isinstance(target, ast.Name):
        return False
    return not any(_reads(node, target.id) for node in walk(found.function))


def _reads(node: ast.AST, name: str) -> bool:
    """Tell whether a variable may be read there, or by code elsewhere that the function shares it with."""
    match node:
        case ast.Name(id=read, ctx=ast.Load()):
            return read in (name, "locals", "vars")
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return name in names
        case _:
            return False


def _is_replaced_at_once(name: str, statement: ast.stmt, places: Places) -> bool:
    """Tell whether the next statement puts the first of two values in the place of both: ``y = y[0]``."""
    block = places.block(statement)
    index = next((at for at, each in enumerate(block) if each is statement), len(block))
    following = block[index + 1] if index + 1 < len(block) else None
    match following:
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.Subscript(value=ast.Name(id=read)) as first):
            return target == read == name and _takes_the_first(first)
        case _:
            return False


def _gives_the_first_alone(name: str, found: MultiheadCall, places: Places) -> bool:
    """Tell whether of a variable that has both values nothing is read but the first one."""
    mentions = [node for node in walk(found.function) if isinstance(node, ast.Name) and node.id == name]
    set_once = sum(not isinstance(node.ctx, ast.Load) for node in mentions) == 1
    read = [places.parent(node) for node in mentions if isinstance(node.ctx, ast.Load)]
    return set_once and bool(read) and all(map(_takes_the_first, read))
