"""Masks of padding: what tells them, and along which dimension their tokens lie."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model.marks import GIVEN, ONES, ZERO, Mask, Numbers, Padding, Positions
from mha_lint.model.run import Call
from mha_lint.model.values import NONE, Const, Slice, Value, as_int
from mha_lint.syntax.words import name_of
from mha_lint.vocabulary import LAYS_ANEW, LENGTHS, PADS, TOKEN_IDS, is_said

Comparing = Callable[[float, float], bool]

_PADDED = Padding(ONES, ZERO)  # where the token is padding
_TOKENS = Padding(ZERO, ONES)  # where it is not
_BELOW, _ABOVE = (operator.lt, operator.le), (operator.gt, operator.ge)
_SIGNS: dict[type[ast.cmpop], Comparing] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


# --- what tells a mask of padding ------------------------------------------------------------------------------------


def compared(
    node: ast.AST,
    function: Comparing | None = None,
    first: Mask | Positions | None = None,
    second: Mask | Positions | None = None,
) -> Mask | None:
    """The mask that a comparison is where it asks for padding: ``ids != pad``, ``arange(s) < lengths[:, None]``.

    ``function`` is what compares; where it is not given, the sign tells. ``first`` and ``second`` are what is known of
    the two sides as masks.
    """
    match node:
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            function = function or _SIGNS.get(type(sign))
        case ast.Call(func=ast.Attribute(value=left), args=[right]):
            pass
        case ast.Call(func=ast.Attribute(), args=[left, right]):
            pass
        case _:
            return None
    if function in (operator.eq, operator.ne):
        padding = _by_token(left, right, function) or _by_token(right, left, function)
    else:
        padding = _by_length(left, right, function, first, second)
    return None if padding is None else replace(GIVEN, padding=padding)


def _by_token(tokens: ast.expr, token: ast.expr, function: Comparing) -> Padding | None:
    """Tokens are compared with the one that stands for padding."""
    zero = isinstance(token, ast.Constant) and token.value == 0 and type(token.value) is int
    if not (_is_pad(token) or (zero and is_said(TOKEN_IDS, _said(tokens)))):
        return None
    return _PADDED if function is operator.eq else _TOKENS


def _is_pad(node: ast.expr) -> bool:
    match node:
        case ast.Call(args=[*_, ast.Constant(value=str(text))]) | ast.Subscript(slice=ast.Constant(value=str(text))):
            name = "".join(letter for letter in text if letter.isalnum() or letter == "_")
            return is_said(PADS, name)  # vocabulary["<pad>"]
        case _:
            return is_said(PADS, _said(node))


def _said(node: ast.expr) -> str:
    """The name of what an expression is a part of, or as large as: ``ids`` of ``ids[:, 1:]``."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return name_of(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""


def _by_length(
    left: ast.expr,
    right: ast.expr,
    function: Comparing | None,
    first: Mask | Positions | None,
    second: Mask | Positions | None,
) -> Padding | None:
    """Positions are compared with the number of tokens that each entry has."""
    if isinstance(first, Positions) == isinstance(second, Positions):
        return None
    positions, lengths = (first, right) if isinstance(first, Positions) else (second, left)
    below, above = (_BELOW, _ABOVE) if isinstance(first, Positions) else (_ABOVE, _BELOW)
    if not is_said(LENGTHS, _said(_laid_out(lengths))) or (function not in below and function not in above):
        return None
    padding = _TOKENS if function in below else _PADDED
    row = isinstance(positions, Positions) and not positions.column
    return padding.laid(-1, None) if row else padding.somewhere()


def _laid_out(node: ast.expr) -> ast.expr:
    """``lengths`` of ``lengths.unsqueeze(1).to(device)``."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_said(LAYS_ANEW, node.func.attr):
        node = node.func.value
    return node


# --- along which dimension the tokens lie ----------------------------------------------------------------------------


def _with(made: Mask, padding: Padding | None) -> Mask:
    return made if made.padding == padding else replace(made, padding=padding)


def unsqueezed(call: Call, known: Mask, made: Mask, at: int | None) -> Mask:
    """The result of ``unsqueeze(at)``."""
    padding = known.padding
    if padding is None:
        return made
    if at is None or padding.dim is None:
        return _with(made, padding.somewhere())
    rank = None if padding.rank is None else padding.rank + 1
    if at >= 0:
        if rank is None:
            stays = at == 0 and padding.dim == -1
            return _with(made, padding if stays else padding.somewhere())
        at -= rank
    behind = at >= padding.dim
    dim = padding.dim - 1 if behind else padding.dim
    column = call.node if behind else padding.column
    return _with(made, padding.laid(dim, rank, column))


def transposed(call: Call, known: Mask, made: Mask, dims: set[int | None]) -> Mask:
    """The result of ``transpose``, ``mT`` or ``t``."""
    padding = known.padding
    if padding is None:
        return made
    last_two = dims in ({-1, -2}, {2, 3}) or (dims == {1, 2} and padding.rank == 3)
    last_two = last_two and (padding.rank or 0) > 2
    if not last_two or padding.dim not in (-1, -2):
        return _with(made, padding.somewhere())
    return _with(made, padding.laid(-3 - padding.dim, padding.rank, call.node))


def viewed(call: Call, known: Mask, made: Mask, written: tuple[Value, ...]) -> Mask:
    """The result of ``view(b, 1, 1, s)``: the tokens lie along the last dimension that isn't 1."""
    padding = known.padding
    if padding is None:
        return made
    sizes = [as_int(value) for value in written]
    if padding.dim != -1 or padding.rank != 2 or len(sizes) < 3:
        return _with(made, padding.somewhere())
    if sizes[-1] != 1:
        return _with(made, padding.laid(-1, len(sizes)))
    return _with(made, padding.laid(-2, len(sizes), call.node) if sizes[-2] != 1 else padding.somewhere())


def indexed(node: ast.expr, known: Mask, indices: list[Value]) -> Padding | None:
    """The padding of ``mask[:, None, :, None]``."""
    padding = known.padding
    if padding is None or padding.dim is None:
        return padding
    if not all(index in (NONE, Const(...)) or _is_whole(index) for index in indices):
        return padding.somewhere()
    if Const(...) in indices:
        after = indices[indices.index(Const(...)) + 1 :]
        before = indices[: indices.index(Const(...))]
        if any(map(_is_whole, after)):
            return padding.somewhere()
    else:
        if padding.rank is None:
            return padding.somewhere()
        taken = [index for index, value in enumerate(indices) if value != NONE]
        at = padding.rank + padding.dim  # the tokens' dimension, from the front
        last = taken[at] if at < len(taken) else len(indices)
        before, after = indices[:last], indices[last:]
    behind = after.count(NONE)
    rank = None if padding.rank is None else padding.rank + before.count(NONE) + behind
    return padding.laid(padding.dim - behind, rank, node if behind else padding.column)


def rearranged(node: ast.expr, padding: Padding, left: list[str], right: list[str]) -> Padding:
    """The padding of ``rearrange(mask, "b s -> b 1 s 1")``; the sides are the names of the axes."""
    at = None if padding.dim is None else len(left) + padding.dim
    if at is None or at < 0 or left[at] not in right or any("(" in name or "." in name for name in (*left, *right)):
        return padding.somewhere()
    dim = right.index(left[at]) - len(right)
    behind = [name for name in right[dim:] if name != left[at]]
    if any(name in left for name in behind):
        return padding.somewhere()
    return padding.laid(dim, len(right), node)


def _is_whole(index: Value) -> bool:
    return index == Slice(None, None)


# --- numbers that padding chooses ------------------------------------------------------------------------------------


def chosen(where: Mask, yes: Mask, no: Mask) -> Padding | None:
    """``torch.where(condition, yes, no)``, told by padding."""
    known = [mask.padding for mask in (where, yes, no) if mask.padding is not None]
    if not known or len({padding.dim for padding in known}) > 1:
        return None
    padded, tokens = (_taken(*(mask.numbers_at(padded=side) for mask in (where, yes, no))) for side in (True, False))
    first = known[0]
    made = Padding(padded, tokens, first.dim, first.rank, first.column)
    others = [mask for mask in (where, yes, no) if mask.padding is None]
    told = all(mask.uniform or mask.diagonal is not None for mask in others)
    return made if told else made.somewhere()


def _taken(where: Numbers, yes: Numbers, no: Numbers) -> Numbers:
    parts = [part for flag, part in ((1.0, yes), (0.0, no)) if where is None or flag in where]
    known = [part for part in parts if part is not None]
    return frozenset[float]().union(*known) if len(known) == len(parts) else None
