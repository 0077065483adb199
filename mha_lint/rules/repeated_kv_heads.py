"""MHA205: keys and values that are repeated for the heads of the queries, only to be handed to fused attention."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.values import NONE, Tensor, Value
from mha_lint.rules.asking import reads_alone
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument, is_starred, walk

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.model.folded import Fold
    from mha_lint.syntax.nodes import Function
    from mha_lint.syntax.places import Places


class Repeat(Struct, frozen=True):
    """One expression that repeats heads, and the ``tensor`` that it repeats.

    ``statement`` gives the result a name, which is handed to attention; None where the expression is handed over.
    """

    written: ast.expr
    tensor: ast.expr
    statement: ast.Assign | None


class RepeatedHeads(Struct, frozen=True):
    """The evidence: the call of fused attention, and what repeats its keys and its values."""

    call: ast.Call
    repeats: tuple[Repeat, Repeat]


class RepeatedKvHeads(Rule):
    """## What it does

    Flags keys and values each head of which is repeated for a group of query heads, with `repeat_interleave`, with
    `.expand` and `.reshape`, or by a function that does so (`repeat_kv`), where nothing but
    `scaled_dot_product_attention` reads the result, and no mask is given.

    ## Why it matters

    Since torch 2.5, `enable_gqa=True` lets the kernel read each key and value once for its group: the copies, as large
    as those of attention without groups, are neither written nor read.

    It is not always faster. Grouped heads run in the flash kernel and in the math kernel alone. The flash kernel takes
    neither float32 nor a mask; where it can't run, the math kernel repeats the heads itself, and is slower than
    the memory-efficient kernel with repeated heads.

    ## Example

    ```python
    k = k.repeat_interleave(n_rep, dim=1)  # (b, groups, t, d) to (b, heads, t, d)
    v = v.repeat_interleave(n_rep, dim=1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ```

    Use instead, where it is faster:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    ```

    ## Fix

    Deletes what repeats, and hands `enable_gqa=True` to attention. Relation *equivalent*: the results agree within the
    rounding of the dtype. Because it may be slower, `--fix` alone does not try it: `--bench` times it, and it is kept
    where it is faster. `--verify` validates it, and writes nothing.

    ## When it stays silent

    - A mask is handed to attention, or the call has arguments that are not written out.
    - The heads are repeated in another order than `enable_gqa` has: `.repeat` gives k0 k1 k0 k1, and not k0 k0 k1 k1.
    - The repeated tensor is read elsewhere too, such as by a cache.
    - Only the keys are repeated, or only the values, or their number of heads is not known.

    ## References

    - [`scaled_dot_product_attention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
    - [huggingface/diffusers#14523](https://github.com/huggingface/diffusers/pull/14523) goes back to repeating, and
      [huggingface/transformers#39412](https://github.com/huggingface/transformers/pull/39412) says when not to
    """

    code = "MHA205"
    name = "repeated-kv-heads"
    severity = "info"
    finds = "keys and values repeated for groups of heads, where `enable_gqa=True` would do"
    why = "The repeated keys and values are written to memory and read again; the flash kernel reads each head once."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n    b, h, t, d = q.shape\n"
        "    b, g, t, d = k.shape\n    b, g, t, d = v.shape\n"
        "    k = k.repeat_interleave(h // g, dim=1)\n    v = v.repeat_interleave(h // g, dim=1)\n"
        "    return F.scaled_dot_product_attention(q, k, v, is_causal=True)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("is_causal=True", "attn_mask=mask").replace("(q, k, v)", "(q, k, v, mask)", 1),
        invalid[0].replace("repeat_interleave(h // g, dim=1)", "repeat(1, h // g, 1, 1)"),
        invalid[0].replace("is_causal=True)", "is_causal=True), k"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[RepeatedHeads]]:
        for node, seen in model.operations.items():
            if not isinstance(node, ast.Call) or seen[0].name != "scaled_dot_product_attention":
                continue
            if not _may_group(node) or not all(each.argument(3, "attn_mask") in (None, NONE) for each in seen):
                continue
            folds = [(_repeated(each.argument(1, "key")), _repeated(each.argument(2, "value"))) for each in seen]
            if not any(_alike(key, value) for key, value in folds) or any(map(_groups_queries, seen)):
                continue
            repeats = _found(node, folds, model, places)
            if repeats is not None:
                message = "keys and values are repeated for attention alone, which can group the heads itself"
                yield Hit(node.func, node, message, seen[0].symbol, evidence=RepeatedHeads(node, repeats))


def _may_group(call: ast.Call) -> bool:
    """Tell whether a call has no mask, no grouped heads yet, and all of its arguments written out."""
    if is_starred(call) or argument(call, 7, "enable_gqa") is not None:
        return False
    mask = argument(call, 3, "attn_mask")
    return mask is None or (isinstance(mask, ast.Constant) and mask.value is None)


def _repeated(value: Value | None) -> Fold | None:
    """Return the order in which each head of keys or values was repeated for its group; None where none was."""
    if not isinstance(value, Tensor) or value.shape is None:
        return None
    for fold in value.folds:
        if fold.dim == -3 and fold.repeated is not None and len(fold.parts) == 2:
            heads, again = fold.parts
            if again.alike and not heads.alike:
                return fold
    return None


def _alike(key: Fold | None, value: Fold | None) -> bool:
    """Tell whether both are repeated, and as often."""
    return key is not None and value is not None and key.parts[-1] == value.parts[-1]


def _groups_queries(seen: OperationSeen) -> bool:
    return _repeated(seen.argument(0, "query")) is not None


def _found(
    call: ast.Call, folds: list[tuple[Fold | None, Fold | None]], model: FileModel, places: Places
) -> tuple[Repeat, Repeat] | None:
    """Find the expressions that repeat keys and values in the function of the call, where nothing else reads them."""
    key, value = argument(call, 1, "key"), argument(call, 2, "value")
    of_key = {fold.repeated for fold, _ in folds if fold is not None and fold.repeated is not None}
    of_value = {fold.repeated for _, fold in folds if fold is not None and fold.repeated is not None}
    if key is None or value is None or len(of_key) != 1 or len(of_value) != 1:
        return None
    one = _repeat(call, key, of_key.pop(), model, places)
    other = _repeat(call, value, of_value.pop(), model, places)
    return None if one is None or other is None else (one, other)


def _repeat(call: ast.Call, handed: ast.expr, by: ast.expr, model: FileModel, places: Places) -> Repeat | None:
    """Find the expression that repeats one tensor that is handed to attention."""
    if not isinstance(handed, ast.Name):
        tensor = _tensor(handed, by, model, places)
        return None if tensor is None else Repeat(handed, tensor, None)
    function = places.function(call)
    if function is None:
        return None
    found: list[Repeat] = []
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == handed.id:
                tensor = _tensor(value, by, model, places)
                if tensor is not None:
                    found.append(Repeat(value, tensor, node))
    if len(found) != 1 or found[0].statement is None:
        return None
    return found[0] if reads_alone(handed, found[0].statement, places) else None


_RESHAPES = frozenset({"reshape", "flatten", "contiguous", "view"})


def _tensor(written: ast.expr, by: ast.expr, model: FileModel, places: Places) -> ast.expr | None:
    """The tensor whose heads an expression repeats; ``by`` is the call that repeats, here or in a function."""
    match written:
        case ast.Call(func=ast.Attribute(value=tensor, attr="repeat_interleave")) if written is by:
            is_of_torch = (model.names.qualify(written.func) or "").startswith("torch.")
            return argument(written, 0, "input") if is_of_torch else tensor
        case ast.Call(func=ast.Attribute(value=tensor, attr="expand")) if written is by:
            return _grown(tensor)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in _RESHAPES:
            return _tensor(inner, by, model, places)
        case ast.Call(func=ast.Name(id=name), args=[tensor, *_]) if name == _name_of(places.function(by)):
            return tensor
        case _:
            return None


def _name_of(function: Function | None) -> str:
    return "" if function is None else function.name


def _grown(written: ast.expr) -> ast.expr | None:
    """The tensor that ``k[:, :, None]`` and ``k.unsqueeze(2)`` give one more dimension."""
    match written:
        case ast.Subscript(value=tensor):
            return tensor
        case ast.Call(func=ast.Attribute(value=tensor, attr="unsqueeze")):
            return tensor
        case _:
            return None
