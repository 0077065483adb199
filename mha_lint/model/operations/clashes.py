"""Shapes that an operation brings together: whether they can meet at all, whatever the sizes are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mha_lint.model import keys
from mha_lint.model.events import Clash
from mha_lint.model.keys import Key, Kind
from mha_lint.model.layout import Shape
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size, symbol
from mha_lint.model.values import State, Tensor
from mha_lint.vocabulary import MASKS

_SCORED = frozenset({"scores", "weights"})


def of_elements(call: Call, tensors: list[Tensor], *, known: bool) -> Shape | None:
    """Scores or weights meet masks, biases and the like elementwise: their shapes are broadcast.

    Return the shape of the scores where they clash, so that nothing can be learnt from the sizes of the others.
    """
    scored = next((tensor for tensor in tensors if tensor.roles & _SCORED), None)
    if scored is None:
        return None
    clash = None
    for other in tensors:
        if other is scored:
            continue
        known = known and other.shape is not None
        if scored.shape is not None and other.shape is not None:
            other_shape = normal(other, call.state).shape
            assert other_shape is not None
            lucky = not other.roles
            clash = clash or _broadcast(call, scored.shape, other_shape, lucky=lucky)
    call.interpreter.saw_shapes(call, clash if known else None, known=known and scored.shape is not None)
    return None if clash is None else scored.shape


def of_product(call: Call, left: Tensor, right: Tensor) -> None:
    """``left @ right``: what is summed is as long on both sides, and what stands before is broadcast."""
    first, second = left.shape, right.shape
    if first is None or second is None or len(first) < 2 or len(second) < 2:
        call.interpreter.saw_shapes(call, None, known=first is not None and second is not None)
        return
    pairs = [(first[-1], second[-2]), *_aligned(first[:-2], second[:-2])]
    clash = _first(call.state, first, second, pairs)
    for one, other in ((first, second), (second, first)):
        if clash is None and len(one) == 4 and len(other) == 3:
            clash = _entries_meet(call.state, one, other, one[1], other[0])
    call.interpreter.saw_shapes(call, clash, known=True)


def of_letters(call: Call, left: Tensor, right: Tensor, pairs: Iterable[tuple[Size, Size]]) -> None:
    """``einsum``: the same letter stands for one size."""
    known = left.shape is not None and right.shape is not None
    clash = _first(call.state, left.shape or (), right.shape or (), pairs) if known else None
    call.interpreter.saw_shapes(call, clash, known=known)


def of_attention(call: Call, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, grouped: bool) -> None:
    """Fused attention of (..., t, d), (..., s, d) and (..., s, e), and a mask over (..., t, s)."""
    q, k, v = query.shape, key.shape, value.shape
    clash = None
    if q is not None and k is not None and v is not None and min(len(q), len(k), len(v)) > 1:
        pairs = [(q[-1], k[-1]), (k[-2], v[-2])]
        if not grouped:
            pairs += [*_aligned(q[:-2], k[:-2]), *_aligned(k[:-2], v[:-2])]
        clash = _first(call.state, q, k, pairs)
        if mask is not None and mask.shape is not None:
            clash = clash or _broadcast(call, (*q[:-1], k[-2]), mask.shape, lucky=True)
    known = None not in (q, k, v) and (mask is None or mask.shape is not None)
    call.interpreter.saw_shapes(call, clash, known=known)


def of_layer(call: Call, query: Tensor | None, mask: Tensor | None) -> None:
    """``nn.MultiheadAttention``: a mask of three dimensions has one matrix for each head of each entry."""
    given = None if query is None else query.shape
    shape = None if mask is None else mask.shape
    clash = None
    if given is not None and shape is not None and len(given) == len(shape) == 3 and shape[0] in given[:2]:
        wanted = (shape[0] * symbol(keys.named("num_heads")), *shape[1:])
        clash = Clash(wanted, shape, (wanted[0], shape[0]), by_luck=False)
    call.interpreter.saw_shapes(call, clash, known=given is not None and shape is not None)


def _broadcast(call: Call, scores: Shape, other: Shape, *, lucky: bool) -> Clash | None:
    clash = _first(call.state, scores, other, _aligned(scores, other))
    if clash is None and lucky:
        return _by_luck(call.state, scores, other) or _of_entries(call, scores, other)
    return clash


def _of_entries(call: Call, scores: Shape, mask: Shape) -> Clash | None:
    """A mask (b, s) that is given beside tokens (b, t, c) has a row for each entry, and none for each head."""
    for one, other in _aligned(scores, mask):
        folded, rows = call.state.normal(one), call.state.normal(other).symbol
        if rows is None or rows in folded.symbols or not _counts_rows_of_a_mask(call, rows):
            continue
        entries = [key for key in folded.symbols if _counts_entries(call, key)]
        if len(entries) == 1 and never_meet(folded, symbol(entries[0])):
            shape = tuple(symbol(entries[0]) if size == other else size for size in mask)
            return Clash(scores, shape, (folded, symbol(entries[0])), by_luck=False)
    return None


def _counts_rows_of_a_mask(call: Call, key: Key) -> bool:
    """The key is the first size of a mask of two dimensions that the function is given."""
    owner = key.owner
    is_mask = owner is not None and owner.says(MASKS) and call.state.ranks.get(owner) == 2
    return is_mask and _counts_entries(call, key)


def _counts_entries(call: Call, key: Key) -> bool:
    """The key is the first size of something that the function is given."""
    owner = key.owner
    return key.kind is Kind.DIMENSION and key.number == 0 and owner is not None and call.interpreter.is_given(owner)


def _by_luck(state: State, scores: Shape, mask: Shape) -> Clash | None:
    """A mask (b, s) or (b, t, s) for scores (b, h, t, s): the batch stands where the queries or the heads do.

    So does it in a mask (b, s) for scores (b, t, s).

    They meet where there happen to be as many tokens, or heads, as entries.
    """
    scores, mask = tuple(map(state.normal, scores)), tuple(map(state.normal, mask))
    if len(scores) < 3 or not 1 < len(mask) < len(scores) or mask[1:] != scores[1 - len(mask) :]:
        return None
    return _entries_meet(state, scores, mask, scores[-len(mask)], mask[0])


def _entries_meet(state: State, left: Shape, right: Shape, met: Size, batch: Size) -> Clash | None:
    """The batch, the first dimension of both, is broadcast with another one of the left.

    If that other one is 1, nothing raises, and the result has the batch twice: that is not meant either.
    """
    left, right = tuple(map(state.normal, left)), tuple(map(state.normal, right))
    met, batch = state.normal(met), state.normal(batch)
    if left[0] != batch or batch.constant is not None or met in (batch, ONE):
        return None
    return Clash(left, right, (met, batch), by_luck=True)


def _aligned(left: Shape, right: Shape) -> Iterator[tuple[Size, Size]]:
    """The sizes that broadcasting brings together: from the end."""
    return zip(reversed(left), reversed(right), strict=False)


def _first(state: State, left: Shape, right: Shape, pairs: Iterable[tuple[Size, Size]]) -> Clash | None:
    """The first pair of sizes that are never alike."""
    for one, other in pairs:
        first, second = state.normal(one), state.normal(other)
        if not never_meet(first, second):
            continue
        shapes = tuple(map(state.normal, left)), tuple(map(state.normal, right))
        if not _is_taken_for_one(first, second, *shapes):
            return Clash(*shapes, (first, second), by_luck=False)
    return None


def never_meet(left: Size, right: Size) -> bool:
    """Tell whether two sizes differ for all sizes above 1, and neither of them is 1."""
    if left == right or ONE in (left, right):
        return False
    if any(key.left_over or key.kind is Kind.CUT for key in left.symbols | right.symbols):
        return False  # it may be 1
    ratio = _ratio(left, right)
    if ratio is not None and ratio.symbol is not None and _counts_rows_or_columns(ratio.symbol):
        return False
    return (left - right).sign() in (1, -1)


def _ratio(left: Size, right: Size) -> Size | None:
    """Return how often one of two sizes holds the other."""
    return left.divide(right) or right.divide(left)


def _counts_rows_or_columns(key: Key) -> bool:
    """The size is that of a dimension of an image, or of what else has four: signals come as images of one row."""
    return key.kind is Kind.DIMENSION and key.number is not None and key.number >= 2


def _is_taken_for_one(one: Size, other: Size, left: Shape, right: Shape) -> bool:
    """Two sizes differ by the batch of one side, where the other side has a batch of 1: the code takes it for 1."""
    return len(left) == len(right) and {left[0], right[0]} == {ONE, _ratio(one, other)}
