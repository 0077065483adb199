"""MHA118 and MHA121: dimensions that a view lays out across each other, and masks repeated in the wrong order.

Heads that are merged to the pixels of an image are a mistake of MHA101.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.injection.code import Injection, integer, keyword, last, name_of
from tests.bench.injection.layouts import dims, view
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import ONE_CHANGES_NOTHING, ORDER_UNKNOWN, SIZES_UNKNOWN

_FEATURES = re.compile(r"^(-1|c|n?channels?|\w*dim\w*|\w*hidden_size)$", re.IGNORECASE)


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of order that a function has room for."""
    for call in scope.calls:
        yield from _tokens_by_reshape(scope, call)
        yield from _image_by_view(scope, call)
        yield from _tiled(scope, call)


# --- MHA121


def _tokens_by_reshape(scope: Scope, move: ast.Call) -> Iterator[Injection]:
    """``x.flatten(2).transpose(1, 2)`` of an image, written ``x.reshape(x.shape[0], -1, x.shape[1])``."""
    match move.func:
        case ast.Attribute(value=ast.Call(func=ast.Attribute(value=ast.Name() as image, attr="flatten")) as flat):
            pass
        case _:
            return
    if not _swaps_the_last(move, rank=3) or [integer(each) for each in flat.args] not in ([2], [-2]):
        return
    sizes = _sizes(scope, image, move)
    x = image.id
    written = f"{x}.reshape({x}.shape[0], -1, {x}.shape[1])"
    silent = _one(scope) or ("" if len(sizes) == 4 else SIZES_UNKNOWN)
    yield scope.injection("MHA121", "image to tokens", move, scope.code.replaced(move, written), silent=silent)


def _image_by_view(scope: Scope, laid: ast.Call) -> Iterator[Injection]:
    """``x.transpose(1, 2).reshape(b, c, h, w)``, or ``x.permute(0, 2, 3, 1).reshape(b, n, c)``, without the move."""
    if not view(laid) or not isinstance(laid.func, ast.Attribute):
        return
    move = laid.func.value
    while isinstance(move, ast.Call) and isinstance(move.func, ast.Attribute) and move.func.attr == "contiguous":
        move = move.func.value
    if not isinstance(move, ast.Call) or not isinstance(move.func, ast.Attribute):
        return
    wanted = dims(laid)
    back = len(wanted) == 4 and _swaps_the_last(move, rank=3)
    order = [integer(each) for each in dims(move)]
    forth = len(wanted) == 3 and move.func.attr == "permute" and order == [0, 2, 3, 1]
    if not back and not forth:
        return
    told = 3 if back else 4
    known = len(_sizes(scope, move.func.value, laid)) == told
    attended = scope.leads(move.func.value, scope.is_context)
    if back and attended and order == [1, 2] and _FEATURES.match(name_of(wanted[-1]) or scope.code.text(wanted[-1])):
        yield scope.injection("MHA101", "merged to an image", laid, scope.code.link(move))
        return
    silent = _one(scope) or ("" if known or attended else SIZES_UNKNOWN)
    form = "tokens to image" if back else "permuted image to tokens"
    yield scope.injection("MHA121", form, laid, scope.code.link(move), silent=silent)


def _one(scope: Scope) -> str:
    """The class maps, or normalises, a single feature."""
    layers = (node for node in ast.walk(scope.unit) if isinstance(node, ast.Call) and node.args)
    alone = any(last(call) in ("Linear", "LayerNorm") and integer(call.args[0]) == 1 for call in layers)
    return ONE_CHANGES_NOTHING if alone else ""


def _swaps_the_last(move: ast.Call, *, rank: int) -> bool:
    """``.transpose(1, 2)``, ``.transpose(-1, -2)``, ``.permute(0, 2, 1)``, ``.mT`` excepted."""
    if not isinstance(move.func, ast.Attribute):
        return False
    order = [integer(each) for each in dims(move)]
    if None in order:
        return False
    known = {each % rank for each in order if each is not None}
    if move.func.attr in ("transpose", "swapaxes"):
        return known == {1, 2}
    return move.func.attr == "permute" and order == [0, 2, 1]


def _sizes(scope: Scope, node: ast.expr, before: ast.expr) -> list[str]:
    """The names that the sizes of a tensor are unpacked to, ``b, c, h, w = x.shape``, as long as it is that tensor."""
    name = name_of(node)
    if not name:
        return []
    here = scope.code.start(scope.statement(before))
    for statement in ast.walk(scope.function):
        match statement:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value) if _is_shape_of(value, name):
                at = scope.code.start(statement)
                again = (scope.code.start(s) for n, _, s in scope.assignments if n == name)
                if at < here and not any(at < each < here for each in again):
                    return [name_of(each) for each in names]
    return []


def _is_shape_of(node: ast.expr, name: str) -> bool:
    match node:
        case ast.Attribute(value=value, attr="shape") | ast.Call(func=ast.Attribute(value=value, attr="size"), args=[]):
            return name_of(value) == name
        case _:
            return False


# --- MHA118


def _tiled(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """``mask.repeat_interleave(heads, dim=0)`` written ``mask.repeat(heads, 1, 1)``."""
    if last(call) != "repeat_interleave" or not isinstance(call.func, ast.Attribute) or not call.args:
        return
    dim = keyword(call, "dim") or (call.args[1] if len(call.args) > 1 else None)
    tensor = call.func.value
    if integer(dim) != 0 or "mask" not in scope.code.text(tensor).lower():
        return
    written = f"{scope.code.text(tensor)}.repeat({scope.code.text(call.args[0])}, 1, 1)"
    silent = "" if scope.attends else ORDER_UNKNOWN
    yield scope.injection("MHA118", "tiled for the heads", call, scope.code.replaced(call, written), silent=silent)
