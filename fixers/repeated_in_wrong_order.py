"""MHA118: repeat each row, where the whole was repeated; and the reverse."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Axes, Fix
from mha_lint.fixers.heads_merged_without_transpose import is_of_torch, written_sizes
from mha_lint.model.keys import Kind
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.events import OrderSeen
    from mha_lint.model.folded import Fold
    from mha_lint.rules.base import Hit

PROBES = ("batch independence",)
_JOINS = ("cat", "concat", "concatenate")
_METHODS = ("repeat", "tile", "repeat_interleave")
_TILES = ("torch.tile",)
_EINOPS = ("einops.repeat", "einops.einops.repeat")
_GROUP = re.compile(r"\(\s*(\w+)\s+(\w+)\s*\)")


class _Written(Struct, frozen=True):
    """The text that a node becomes; what the message says of it, and the tensor that is repeated."""

    node: ast.expr
    text: str
    told: str
    tensor: ast.expr


def fix(hit: Hit[OrderSeen | None], context: Context) -> Fix | str:
    """One edit of the call that repeats, or one for each part of it."""
    seen, call = hit.evidence, hit.last
    assert isinstance(call, ast.Call)
    if seen is None:
        return "it is repeated otherwise on another path through the code"
    written = _written(call, seen.fold, context)
    if isinstance(written, str):
        return written
    edit = context.places.replace(written.node, written.text)
    axes = _entries(seen, written.tensor)
    return Fix("unsafe", "corrected", f"Write `{written.told}`", (edit,), probes=PROBES, axes=axes)


def _written(call: ast.Call, fold: Fold, context: Context) -> _Written | str:
    qualified = context.model.names.qualify(call.func) or ""
    if qualified in _EINOPS:
        return _by_pattern(call, fold, context)
    if qualified.startswith("torch.") and qualified.rpartition(".")[2] in _JOINS:
        return _joined(call, fold, context)
    method = call.func
    if qualified in _TILES:
        return _tiled(call, call.args[:1], fold, context) if call.args else _NOT_KNOWN
    if is_of_torch(call, context) or not isinstance(method, ast.Attribute):
        return _NOT_KNOWN
    if method.attr == "expand":
        return _expanded(call, fold, context)
    if method.attr not in _METHODS:
        return _NOT_KNOWN
    if fold.parts[0].alike:
        return _tiled(call, [method.value], fold, context)
    times, dim = argument(call, 0, "repeats"), argument(call, 1, "dim")
    if times is None or not isinstance(dim, ast.Constant) or dim.value != 0:
        return "it is not known how many dimensions there are"
    ones = ", 1" * (-fold.dim - 1)
    return _chained(call, method.value, f"repeat({context.places.source(times)}{ones})", context)


_NOT_KNOWN = "it is not known how else it would be written"


def _chained(call: ast.Call, tensor: ast.expr, method: str, context: Context) -> _Written:
    """A method of the tensor in the place of the call."""
    text = context.places.source(tensor)
    if not isinstance(tensor, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        text = f"({text})"
    return _Written(call, f"{text}.{method}", method, tensor)


def _tiled(call: ast.Call, tensors: list[ast.expr], fold: Fold, context: Context) -> _Written | str:
    """``mask.repeat(heads, 1, 1)`` and ``torch.tile(mask, (heads, 1, 1))``."""
    (tensor,) = tensors
    sizes = written_sizes(call, of_torch=isinstance(call.func, ast.Attribute) and tensor in call.args)
    at = None if sizes is None else len(sizes) + fold.dim
    if sizes is None or at is None or at < 0 or any(_is_more(size) for n, size in enumerate(sizes) if n != at):
        return "it is repeated along other dimensions, too, or the numbers are not written one by one"
    return _chained(call, tensor, f"repeat_interleave({context.places.source(sizes[at])}, dim={at})", context)


def _joined(call: ast.Call, fold: Fold, context: Context) -> _Written | str:
    """``torch.cat([mask] * heads)``."""
    dim = argument(call, 1, "dim", "axis")
    if not fold.parts[0].alike or not (dim is None or (isinstance(dim, ast.Constant) and dim.value == 0)):
        return _NOT_KNOWN
    match argument(call, 0, "tensors"):
        case ast.BinOp(left=ast.List(elts=[tensor]), op=ast.Mult(), right=times):
            pass
        case ast.BinOp(left=times, op=ast.Mult(), right=ast.List(elts=[tensor])):
            pass
        case _:
            return _NOT_KNOWN
    return _chained(call, tensor, f"repeat_interleave({context.places.source(times)}, dim=0)", context)


def _by_pattern(call: ast.Call, fold: Fold, context: Context) -> _Written | str:
    """``repeat(mask, "b i j -> (h b) i j", h=heads)``: the two names in the group change places."""
    pattern = argument(call, 1, "pattern")
    if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str) or not call.args:
        return _NOT_KNOWN
    text = context.places.source(pattern)
    before, arrow, after = text.partition("->")
    if len(_GROUP.findall(after)) != 1 or len(fold.parts) != 2:
        return "more than one group of the pattern would have to be turned"
    turned = before + arrow + _GROUP.sub(r"(\2 \1)", after)
    return _Written(pattern, turned, turned.strip("\"'"), call.args[0])


def _expanded(call: ast.Call, fold: Fold, context: Context) -> _Written | str:
    """``mask.unsqueeze(0).expand(heads, -1, -1, -1)``, the first two dimensions of which are merged later."""
    assert isinstance(call.func, ast.Attribute)
    sizes, places = written_sizes(call, of_torch=False), context.places
    if sizes is None or len(sizes) < 2 or not fold.parts[0].alike:
        return _NOT_KNOWN
    match call.func.value:
        case ast.Call(func=ast.Attribute(value=tensor, attr="unsqueeze"), args=[ast.Constant(value=0)]):
            inserted = f"{places.source(tensor)}.unsqueeze(1)"
        case ast.Subscript(value=tensor, slice=ast.Constant(value=None)):
            inserted = f"{places.source(tensor)}[:, None]"
        case _:
            return _NOT_KNOWN
    first, second, *rest = map(places.source, sizes)
    told = f"expand({', '.join([second, first, *rest])})"
    return _Written(call, f"{inserted}.{told}", told, tensor)


def _entries(seen: OrderSeen, repeated: ast.expr) -> tuple[Axes, ...]:
    """The dims of parameters that are told apart from the heads: what came with an input is the batch."""
    found: dict[str, Axes] = {}
    if isinstance(repeated, ast.Name):
        found[repeated.id] = Axes(repeated.id, batch=0)
    for part in (*seen.fold.parts, *seen.other.parts):
        key = None if part.size is None or part.alike else part.size.symbol
        if key is not None and key.kind is Kind.DIMENSION and key.owner is not None and key.owner.kind is Kind.NAME:
            found[key.owner.names[-1]] = Axes(key.owner.names[-1], batch=key.number)
    return tuple(found.values())


def _is_more(size: ast.expr) -> bool:
    return not (isinstance(size, ast.Constant) and size.value == 1)
