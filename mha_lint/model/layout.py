"""Memory layout: symbolic strides, and when ``.view`` can succeed.

A torch tensor has one stride a dimension, so its layout is one symbolic stride a dimension. The factor picture
(a fresh tensor's memory is b*t*c; splitting, reordering and cutting dimensions rearranges those factors) is what
the strides' polynomials spell out: ``transpose`` reorders the strides, ``select`` and slicing leave a stride that
no longer equals the product of what lies inside it, ``expand`` gives stride 0.

``view`` is the symbolic form of ``computeStride_impl`` in ATen/TensorUtils.cpp. All answers are for tensors in
which no size involved is 1 unless the code says 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from mha_lint.model.sizes import ONE, Size, product

Shape = tuple[Size, ...]
Strides = tuple[Size, ...]


class Refused(Exception):
    """Torch would refuse a call: it names a dimension that is not there, or sizes that do not fit.

    The model meets such calls on paths that no run takes. Shape functions raise it on purpose; whatever else they raise
    is a fault of ours.
    """


def place(dim: int, rank: int) -> int:
    """The number of a dimension as it is counted from the front.

    Raises:
        Refused: a tensor of this rank has no such dimension.
    """
    if not -rank <= dim < rank:
        raise Refused
    return dim % rank


class Answer(Enum):
    ALWAYS = "always"
    NEVER = "never"
    UNKNOWN = "unknown"


class Run(Struct, frozen=True):
    """Neighbouring dimensions that are one piece of memory: ``size`` elements, ``stride`` apart."""

    size: Size
    stride: Size


@lru_cache(maxsize=4096)
def contiguous_strides(shape: Shape) -> Strides:
    strides: list[Size] = []
    step = ONE
    for size in reversed(shape):
        strides.append(step)
        step = step * size
    return tuple(reversed(strides))


@lru_cache(maxsize=4096)
def is_contiguous(shape: Shape, strides: Strides) -> Answer:
    """Tell whether the tensor is contiguous in torch's sense; strides of size-1 dimensions don't matter."""
    answer = Answer.ALWAYS
    for size, stride, wanted in zip(shape, strides, contiguous_strides(shape), strict=True):
        if size == ONE or stride == wanted:
            continue
        if (stride - wanted).sign() in (1, -1):
            return Answer.NEVER
        answer = Answer.UNKNOWN
    return answer


def dense_order(shape: Shape, strides: Strides) -> bool:
    """Return True where some order of the dimensions is contiguous, without gaps or overlaps."""
    left = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != ONE]
    step = ONE
    while left:
        inner = next((dim for dim in left if dim[1] == step), None)
        if inner is None:
            return False
        left.remove(inner)
        step = step * inner[0]
    return True


def dense_like(shape: Shape, strides: Strides) -> Strides | None:
    """Strides of a new tensor for an elementwise result: the same order of dimensions, without gaps.

    None where the order is not known (torch's TensorIterator goes by the strides' values).
    """
    if dense_order(shape, strides):
        return strides
    dims = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != ONE]
    gaps = [outer[1] - inner[0] * inner[1] for outer, inner in pairwise(dims)]
    in_order = all(not gap.terms or gap.sign() == 1 for gap in gaps) and all(stride.terms for _, stride in dims)
    return contiguous_strides(shape) if in_order else None


def runs(shape: Shape, strides: Strides) -> tuple[list[Run], bool]:
    """Merge neighbours that are adjacent in memory, outermost first; False where a boundary is in doubt."""
    merged: list[Run] = []
    certain = True
    for size, stride in zip(shape, strides, strict=True):
        if size == ONE:
            continue
        if merged:
            gap = merged[-1].stride - size * stride
            if not gap.terms:
                merged[-1] = Run(merged[-1].size * size, stride)
                continue
            certain = certain and gap.sign() in (1, -1)
        merged.append(Run(size, stride))
    return merged, certain


@lru_cache(maxsize=4096)
def view(shape: Shape, strides: Strides, target: Shape) -> tuple[Answer, Strides | None]:
    """Tell whether ``tensor.view(target)`` succeeds, and give the strides of the result where it does.

    ``shape`` and ``target`` must hold the same number of elements; a size that is merely a symbol unknown to the
    tensor is allowed, and is matched by counting: n runs of memory can't be told by fewer than n dimensions.
    """
    pieces, certain = runs(shape, strides)
    if len(pieces) <= 1:
        step = pieces[0].stride if pieces else ONE
        return Answer.ALWAYS, tuple(stride * step for stride in contiguous_strides(target))
    wanted = [size for size in target if size != ONE]
    inner = _match(list(reversed(pieces)), list(reversed(wanted)))
    if inner.matched == len(wanted) and not inner.pieces:
        result = iter(reversed(inner.strides))
        return Answer.ALWAYS, tuple(ONE if size == ONE else next(result) for size in target)
    if not certain:
        return Answer.UNKNOWN, None
    rest = wanted[: len(wanted) - inner.matched]
    outer = _match(list(reversed(inner.pieces)), rest, outermost_first=True)
    if inner.crossed or outer.crossed or len(outer.pieces) > len(rest) - outer.matched:
        return Answer.NEVER, None
    return Answer.UNKNOWN, None


class _Matching(Struct):
    pieces: list[Run]  # what is left of the memory
    strides: list[Size]  # of the matched dimensions
    matched: int
    crossed: bool = False  # a dimension certainly spans two runs


def _match(pieces: list[Run], wanted: Sequence[Size], *, outermost_first: bool = False) -> _Matching:
    """Give each wanted dimension its part of one run, in order, as far as the sizes can be compared."""
    state = _Matching(pieces, [], 0)
    for size in wanted:
        if not state.pieces:
            break
        run = state.pieces[0]
        rest = run.size.divide(size)
        if rest is None:
            # The dimension takes in the whole run and more: it would span a boundary.
            larger = size.divide(run.size)
            state.crossed = larger is not None and (larger - ONE).sign() == 1 and len(state.pieces) > 1
            break
        if outermost_first:
            state.strides.append(run.stride * rest)
            remaining = Run(rest, run.stride)
        else:
            state.strides.append(run.stride)
            remaining = Run(rest, run.stride * size)
        state.pieces = state.pieces[1:] if rest == ONE else [remaining, *state.pieces[1:]]
        state.matched += 1
    return state


def expand_strides(shape: Shape, strides: Strides, target: Shape) -> Strides:
    """Strides after ``expand(target)``: 0 for new dimensions and for those that grow from 1.

    Raises:
        Refused: the target has fewer dimensions.
    """
    new = len(target) - len(shape)
    if new < 0:
        raise Refused
    zero = ONE - ONE
    return (zero,) * new + tuple(
        zero if size == ONE and wanted != ONE else stride
        for size, stride, wanted in zip(shape, strides, target[new:], strict=True)
    )


def numel(shape: Shape) -> Size:
    return product(shape)
