"""Tensors of unknown rank: their last dimensions are counted from the end, and some stand in front."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model.keys import dimension
from mha_lint.model.run import Call
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import Lead, Tensor


def leading(tensor: Tensor) -> Lead | None:
    """All dimensions of a tensor but its last, where it has a name."""
    return None if tensor.key is None else Lead(tensor.key)


def opened(tensor: Tensor, count: int) -> Tensor | None:
    """The tensor with at least so many of its last dimensions told one by one; None where they have no names."""
    missing = count - len(tensor.suffix)
    if missing <= 0:
        return tensor
    lead = tensor.lead if tensor.suffix else None
    if lead is None:
        if tensor.key is None or tensor.suffix:
            return None
        lead = Lead(tensor.key, 0)
    cut = lead.cut + missing
    dims = tuple(symbol(dimension(lead.key, index - cut)) for index in range(missing))
    return replace(tensor, suffix=(*dims, *tensor.suffix), lead=replace(lead, cut=cut))


def swapped(call: Call, tensor: Tensor, first: int, second: int) -> Tensor | None:
    """Two dimensions change places, both counted from the end."""
    if first >= 0 or second >= 0:
        return None
    known = opened(tensor, -min(first, second))
    if known is None:
        return None
    suffix = list(known.suffix)
    suffix[first], suffix[second] = suffix[second], suffix[first]
    return _laid_out(call, known, suffix, known.lead).normalised_at(exchanged(tensor, first, second))


def exchanged(tensor: Tensor, first: int, second: int) -> int | None:
    """Where the dimension of a softmax lies once two change places; None where they are not counted as it is."""
    if tensor.normalised is None or tensor.normalised.parts > 1:
        return None
    at = tensor.normalised.dim
    alike = {first < 0, second < 0} == {at < 0}
    return {first: second, second: first}.get(at, at) if alike else None


def moved(call: Call, tensor: Tensor, source: int, target: int) -> Tensor | None:
    """A dimension that is counted from the end goes to another place there, or to the front."""
    known = opened(tensor, -min(source, target)) if source < 0 else None
    if known is None or known.lead is None:
        return None
    suffix, front = list(known.suffix), list(known.lead.front)
    size = suffix.pop(source)
    if target < 0:
        suffix.insert(len(suffix) + 1 + target, size)
    elif target <= len(front):
        front.insert(target, size)
    else:
        return None
    lead = replace(known.lead, front=tuple(front))
    return replace(_laid_out(call, known, suffix, lead), normalised=None)


def contracted(call: Call, left: Tensor, right: Tensor) -> Tensor | None:
    """The dimensions of ``left @ right``, (..., n, d) and (..., d, m), of which one is of unknown rank, or both."""
    if len(right.suffix) < 2 or right.lead is None:
        return None
    rows = left.suffix[-2] if len(left.suffix) > 1 else call.fresh_size("rows")
    if left.suffix and len(left.suffix) > 1 and _around(left) != _around(right):
        return None
    return Tensor(suffix=(*right.suffix[:-2], rows, right.suffix[-1]), lead=right.lead)


def _around(tensor: Tensor) -> tuple[object, ...]:
    """Return what is known of the batch dimensions of a matrix, to be compared with another's."""
    lead = tensor.lead
    return tensor.suffix[:-2], None if lead is None else (lead.cut, lead.front)


def _laid_out(call: Call, tensor: Tensor, suffix: list[Size], lead: Lead | None) -> Tensor:
    """The tensor with other dimensions; how these lie in memory is not followed."""
    key = call.interpreter.key(call.node)
    return replace(tensor, suffix=tuple(suffix), lead=lead, strides=None, contiguous=False, key=key)
