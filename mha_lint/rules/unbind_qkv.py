"""MHA002: unbinding a packed QKV tensor along its leading dimension."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.events import UnbindSeen
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import argument, last_name
from mha_lint.syntax.places import method_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places


class Unbinding(Struct, frozen=True):
    """The evidence: the assignment, its targets, the expression that is unbound, and how."""

    statement: ast.stmt | None
    targets: tuple[str, ...]
    call: ast.expr  # the unbind call; for an unpacking, the unpacked expression
    packed: ast.expr  # the packed tensor
    explicit: bool  # `.unbind(0)` is written out
    inference: bool  # runs under no_grad or inference_mode on every path seen


class UnbindQkv(Rule):
    """## What it does

    Flags `.unbind(0)` (also `dim=0`, `torch.unbind(t, 0)`, and unpacking `q, k, v = qkv`, which calls unbind) on a
    packed QKV tensor, or on one that packs two of the three.

    ## Why it matters

    To unbind at dimension 0, the packed dimension is first permuted to the front. That costs time in training: the
    gradients of q, k and v are stacked along the front and permuted back, in an order that the projection does not
    want. Measured on an H100 (torch 2.11, whole module, eager, six sizes, bfloat16 and float32), against `.unbind(0)`:
    unbinding at the packed dimension *before* permuting, `qkv.view(b, n, 3, h, d).unbind(2)`, takes 0.89 to 1.01 of
    the time in forward + backward, the least where there are many tokens in bfloat16, and 0.98 to 1.06 forward, the
    most where a call is so short that launching kernels is all it does. Indexing `qkv[0], qkv[1], qkv[2]` takes 0.99
    to 1.03 forward, and 1 % to 12 % *more* in forward + backward, because the backward of each index fills a whole
    zero tensor. The common advice to index is thus right for inference code only. Compiled, unbinding first takes
    0.97 to 1.01 of the time, and indexing 0.95 to 1.08. Under `--bench`, which asks for more than 3 %, most sizes show
    no difference: [docs/speed.md](../speed.md).

    ## Example

    ```python
    qkv = self.qkv(x).reshape(b, n, 3, h, d).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    ```

    Use instead:

    ```python
    qkv = self.qkv(x).reshape(b, n, 3, h, d)
    q, k, v = qkv.unbind(2)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    ```

    ## Fix

    Option `qkv-split`. `"auto"` (the default) rewrites to unbind-before-permute where the view and the permute are
    visible and nothing else uses the permuted tensor, and to indexing in code that runs under `torch.no_grad` or
    `torch.inference_mode`; elsewhere it keeps the line, says why, and names the option. `"index"` always rewrites to
    indexing. A comment on the shape of the permuted tensor is deleted; one on the shape of the parts moves to the line
    where they have that shape. Relation *equivalent*: the same outputs and gradients to the last bit.

    ## When it stays silent

    - The tensor is not a packed QKV: a batch, a stack of boxes, time steps. A packed tensor has 3 parts (or 2), which
      are named as queries, keys and values, or are multiplied with one another.
    - It is split along another dimension, or with `chunk` or `split`.

    ## References

    - The figures above are reproduced by `tests/bench/qkv_split.py`, see `docs/benchmarks.md`.
    """

    code = "MHA002"
    name = "unbind-qkv"
    severity = "info"
    finds = "`.unbind(0)` of a packed QKV tensor, or unpacking one"
    why = "Unbinding before permuting gives the projection its gradient in the order it wants: faster in training."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "def split(qkv):\n    b, n, c = qkv.shape\n    qkv = qkv.reshape(b, n, 3, 8, c // 24).permute(2, 0, 3, 1, 4)\n"
        "    q, k, v = qkv.unbind(0)\n    return q, k, v\n",
    )
    valid: ClassVar = (
        "def split(qkv):\n    b, n, c = qkv.shape\n"
        "    q, k, v = qkv.reshape(b, n, 3, 8, c // 24).unbind(2)\n    return q, k, v\n",
        "def rows(boxes):\n    x, y, z = boxes.reshape(3, -1).unbind(0)\n    return x, y, z\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Unbinding]]:
        for node, seen in model.unbinds.items():
            if not any(unbind.dim == 0 and "parameter" not in unbind.tensor.roles for unbind in seen):
                continue  # a parameter holds what it holds: nothing was projected or permuted
            unbinding = _unbinding(node, model.names, places, inference=all(unbind.inference for unbind in seen))
            kind = unbinding and _kind(unbinding, seen, attended=node in model.attended)
            if unbinding and kind:
                first = method_name(node) if isinstance(node, ast.Call) and unbinding.explicit else node
                verb = "`.unbind(0)` of" if unbinding.explicit else "unpacking"
                message = f"{verb} a packed {kind} tensor, permuted so that its parts come first"
                yield Hit(first, node, message, seen[0].symbol, evidence=unbinding)


def _unbinding(node: ast.expr, names: ModuleNames, places: Places, *, inference: bool) -> Unbinding | None:
    packed = _unbound_by(node, names)
    explicit = packed is not None
    packed = packed if packed is not None else node
    targets: tuple[str, ...] = ()
    match places.parent(node):
        case ast.Assign(targets=[target], value=value) if value is node:
            if isinstance(target, (ast.Tuple, ast.List)):
                targets = tuple(each.id if isinstance(each, ast.Name) else "" for each in target.elts)
        case _ if not explicit:
            return None  # iterated over, not unpacked
    return Unbinding(places.statement(node), targets, node, packed, explicit, inference)


def _unbound_by(node: ast.expr, names: ModuleNames) -> ast.expr | None:
    """The tensor that ``x.unbind(…)`` or ``torch.unbind(x, …)`` unbinds; None for any other expression."""
    match node:
        case ast.Call(func=function) if names.qualify(function) == "torch.unbind":
            return argument(node, 0, "input")
        case ast.Call(func=ast.Attribute(value=receiver, attr="unbind")):
            return receiver
        case _:
            return None


def _kind(unbinding: Unbinding, seen: list[UnbindSeen], *, attended: bool) -> str | None:
    """ "QKV", "KV" or "QK" where the tensor is established to be that, else None."""
    firsts = {unbind.tensor.first for unbind in seen}
    counts = {None if first is None else first.constant for first in firsts}
    counts = counts - {None} or counts
    letters = [_letter(name) for name in unbinding.targets]
    named = {"".join(sorted(filter(None, letters)))} if letters and all(letters) else set()
    source = _name_of(unbinding.packed).lower()
    unknown_shape = counts == {None}
    if unknown_shape and not (unbinding.explicit and firsts == {None}):
        return None
    if (counts == {3} or unknown_shape) and (named == {"kqv"} or (counts == {3} and ("qkv" in source or attended))):
        return "QKV"
    if (counts == {2} or unknown_shape) and (named == {"kv"} or (counts == {2} and source.endswith("kv"))):
        return "KV"
    if (counts == {2} or unknown_shape) and named == {"kq"}:
        return "QK"
    return None


def _letter(name: str) -> str | None:
    """q, k or v for a name that says query, key or value: ``q``, ``xq``, ``query_states``, ``k_r``, ``values``."""
    bare = name.lower().lstrip("_")
    bare = bare[1:] if bare[:2] in ("xq", "xk", "xv") else bare
    for letter, word in (("q", "quer"), ("k", "key"), ("v", "val")):
        rest = bare.removeprefix(letter)
        if bare.startswith(word) or (rest != bare and (not rest or rest[0] in "_s0123456789")):
            return letter
    return None


def _name_of(packed: ast.expr) -> str:
    """The name of a tensor, of one whose method is called, or of the function that is."""
    match packed:
        case ast.Call(func=ast.Attribute(value=receiver)):
            return _name_of(receiver)
        case ast.Call(func=function):
            return last_name(function)
        case _:
            return last_name(packed)
