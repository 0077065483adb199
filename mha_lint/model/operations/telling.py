"""These operations tell the roles of sizes: which are the batch's, the tokens' and the heads'."""

from __future__ import annotations

from mha_lint.model.axes import Role, Source, size_at
from mha_lint.model.layout import Shape
from mha_lint.model.run import Call
from mha_lint.model.sizes import ONE, Size, product
from mha_lint.model.values import Tensor
from mha_lint.vocabulary import HEADS


def note_image(call: Call, source: Shape | None, target: Shape) -> None:
    """(b, c, h, w) -> (b, c, h*w): where the last dimension comes to stand for a sequence, these are its tokens."""
    if source is not None and len(source) > 3 == len(target) and source[:2] == target[:2]:
        call.interpreter.axes.tell(target[2], Role.TOKENS, Source.IMAGE)


def note_heads(call: Call, source: Tensor, target: Shape) -> None:
    """(b, t, h*d) -> (b, t, h, d), or (b, t, 3, h, d): the width of a projection is split into its heads."""
    if source.scale is None or source.last is None or len(target) < 4:
        return
    axes, last = call.interpreter.axes, call.state.normal(source.last)
    if source.shape is None or len(source.shape) == 3:
        in_front = tuple(map(axes.named, target[:2])) == (axes.at(source, 0), axes.at(source, 1))
    else:  # (b, h, w, c): the rows and columns of an image become tokens in the same view
        between = call.state.normal(product(source.shape[1:-1]))
        in_front = len(source.shape) > 3 and (source.shape[0], between) == target[:2]
    parts = next((count for count in (2, 3) if call.state.normal(product(target[-count:])) == last), None)
    if parts is None and source.shape is None and _is_split(target[-2], target[-1]):
        parts = len(target) - 2
    if parts is None and in_front and source.shape is None and target[-1].left_over:
        parts = len(target) - 2
    if parts is None or len(target) - parts != 2 or (parts == 3 and target[2].constant is None):
        return
    if source.shape is None or in_front:
        axes.tell_heads(target[-2], target[1])


def _is_split(heads: Size, width: Size) -> bool:
    """``view(b, -1, heads, width // heads)``: the sizes say that heads were split, whatever the projection is.

    So they do where one of the two is left over: ``(-1, width // heads)``, or ``(heads, -1)``.
    """
    count, key = heads.symbol, width.symbol
    if count is None or key is None:
        return False
    if key.divisor is not None and (key.divisor is count or (count.left_over and key.divisor.says(HEADS))):
        return True
    return key.left_over and count.says(HEADS)


def note_open_heads(call: Call, source: Tensor, suffix: Shape) -> None:
    """(..., h*d) -> (..., h, d): so for a projection of unknown rank."""
    if source.scale is None or len(source.suffix) != 1 or len(suffix) not in (2, 3):
        return
    if source.scale.whole or (len(suffix) == 2 and _is_split(*suffix)):
        call.interpreter.axes.tell_heads(suffix[-2], None)


def note_turned(call: Call, tensor: Tensor, first: int, second: int) -> None:
    """Of a tensor of unknown rank it is known which of its first dimensions change places."""
    if min(first, second) < 0 or max(first, second) > 2 or tensor.lead is not None:
        return
    dims = [size_at(tensor, dim) for dim in range(3)]
    dims[first], dims[second] = dims[second], dims[first]
    call.interpreter.axes.alike(call.interpreter.key(call.node), dims)


def note_expanded(call: Call, tensor: Tensor, shape: Shape) -> None:
    """Learned tokens (1, n, c) are there for each entry of the batch."""
    before = tensor.shape or ()
    if "parameter" not in tensor.roles or len(before) != 3 or len(shape) != 3:
        return
    grown = [dim for dim in (0, 1) if before[dim] == ONE and shape[dim] != ONE]
    if len(grown) == 1:
        call.interpreter.axes.tell(shape[grown[0]], Role.BATCH, Source.TOKEN)


def note_flat(call: Call, source: Tensor, target: Shape) -> None:
    """(b, t, c) -> (b, t*c): one vector is made of all tokens of an entry."""
    if source.rank == 3 or (source.rank is None and "projected" in source.roles):
        axes = call.interpreter.axes
        if len(target) == 2 and axes.at(source, 0) == axes.named(target[0]):
            axes.tell_front(source, Source.FLAT, batch_first=True)


def note_scored(call: Call, query: Tensor, key: Tensor) -> None:
    """Queries (..., t, d) and keys (..., s, d) give scores: t and s count tokens."""
    for tensor in (query, key):
        held = tensor.shape or tensor.suffix
        if len(held) > 1 and "projection" in tensor.roles:
            call.interpreter.axes.tell(held[-2], Role.TOKENS, Source.ATTENTION)


def note_pooled(call: Call, tensor: Tensor | None, dim: int | None) -> None:
    """A mean over one of the first two dimensions of three is over the tokens, not over the batch."""
    if tensor is None or dim is None or tensor.rank not in (None, 3):
        return
    dim = dim + 3 if dim == -2 and tensor.rank == 3 else dim
    if dim in (0, 1):
        call.interpreter.axes.tell(size_at(tensor, dim), Role.TOKENS, Source.POOLED)
