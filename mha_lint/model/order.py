"""Tell whether a reshape keeps the order of a tensor's dimensions, or lays one dimension out across another."""

from __future__ import annotations

from itertools import permutations

from msgspec import Struct

from mha_lint.model.events import ViewSeen
from mha_lint.model.keys import Kind
from mha_lint.model.layout import Shape
from mha_lint.model.sizes import ONE, Size, product
from mha_lint.model.values import Lead


class Scramble(Struct, frozen=True):
    """A reshape that mixes tokens: the sizes that it takes to be in another order.

    ``folded`` where the heads share a dimension with ``batch``, (b*h, t, d); ``rank`` is that of the side on which the
    heads come before the tokens.
    """

    heads: Size
    tokens: Size
    width: Size
    batch: Size
    folded: bool
    rank: int
    parts: int = 1  # the dimensions that the heads are: 2 for (b, 3, h, t, d)
    time_first: bool = False  # split off (t, b, h*d), or merged to it

    @property
    def swap(self) -> str:
        """The call that brings the tokens behind the heads, where those are dimensions of their own."""
        if self.parts > 1:
            return f"movedim({-2 - self.parts}, -2)"
        return "transpose(1, 2)" if self.rank == 4 else "transpose(-3, -2)"


class Crossing(Struct, frozen=True):
    """A reshape in which dimensions change places, although none was moved.

    ``moved`` is the order in which the dimensions of the tensor must come first, for the reshape to do what it says.
    ``kept`` is the order of the target's dimensions that a reshape can give, and that must be moved afterwards. Each
    is None where a dimension would have to be taken apart; both hold indices.
    """

    moved: tuple[int, ...] | None
    kept: tuple[int, ...] | None


def merged_across(seen: ViewSeen) -> Scramble | None:
    """(..., h, t, d) reshaped to (..., t, h*d), where the tokens lie between the heads and their features."""
    source = seen.tensor.shape
    left = None if source is None else _unmatched(source, seen.target)
    if left is None or source is None or len(left[0]) < 3 or not left[1]:
        return None
    (*before, tokens, width), (*kept, wide) = left
    heads = wide.divide(width)
    if heads is None or heads == ONE or ONE in (tokens, width) or heads.divide(tokens) is not None:
        return None
    batch = product(before).divide(heads)
    if batch is None or product(kept) != batch * tokens or heads == width:
        return None
    if batch == ONE and source[0] != heads and len(source) - len(seen.target) > 1:
        return None  # a batch among the heads: not all dimensions are what they seem
    folded, time_first = heads not in source, kept == [tokens, batch] != [batch, tokens]
    return Scramble(heads, tokens, width, batch, folded, len(source), time_first=time_first)


def keeps_order(seen: ViewSeen) -> bool:
    """Return True where the reshape is known to do nothing but split dimensions and merge adjacent ones."""
    return seen.tensor.shape is not None and in_order(seen.tensor.shape, seen.target)


def in_order(source: Shape, target: Shape) -> bool:
    """Return True where a reshape between the two shapes is known to keep the order of the dimensions."""
    return _unmatched(source, target) is None and product(source) == product(target)


def split_across(seen: ViewSeen) -> Scramble | None:
    """(..., t, h*d) viewed as (..., h, t, d), or (t, b, h*d) as (b*h, t, d), which takes the tokens apart."""
    source, target = seen.tensor.shape, seen.target
    if source is None:
        return _split_of_unknown_rank(seen)
    left = _unmatched(source, target)
    if left is None or len(left[0]) < 2 or len(left[1]) < 3:
        return None
    (*before, tokens, wide), (*front, kept, width) = left
    heads = wide.divide(width)
    if heads is None and len(source) == 3 and _is_told_by_name(source[-1], target):
        return Scramble(target[1], target[2], target[3], target[0], folded=False, rank=4)
    if kept == product([*before, tokens]):  # rows and columns of an image
        before, tokens = [], kept
    if heads is None or heads == ONE or ONE in (tokens, width):
        return None
    if [kept] == before and front == [tokens * heads] and kept != ONE:
        return Scramble(heads, kept, width, tokens, folded=True, rank=len(target), time_first=True)
    if kept != tokens:
        return None
    if product(front) != product(before) * heads:
        return None
    parts = _parts(target[:-2], heads)
    return Scramble(heads, tokens, width, product(before), folded=not parts, rank=len(target), parts=parts or 1)


def _split_of_unknown_rank(seen: ViewSeen) -> Scramble | None:
    """A projection (..., h*d) viewed as (b, h, -1, d) or (b*h, -1, d): whatever its rank, the tokens come between."""
    tensor, target = seen.tensor, seen.target
    if len(tensor.suffix) != 1 or len(target) < 3 or tensor.lead is None or tensor.lead != Lead(tensor.lead.key):
        return None
    *front, tokens, width = target
    heads = tensor.suffix[0].divide(width)
    if heads is None and _is_told_by_name(tensor.suffix[0], target):
        return Scramble(target[1], tokens, width, target[0], folded=False, rank=4)
    if heads is None or ONE in (heads, width):
        return None
    if front[-1].left_over and _is_dim(tokens, 1) and _is_dim(front[0], 0) and len(front) == 2:
        return Scramble(heads, tokens, width, front[0], folded=False, rank=len(target))  # (b, -1, t, d)
    batch, parts = product(front).divide(heads), _parts(tuple(front), heads)
    told = tokens.left_over or (_is_dim(tokens, 1) and batch is not None and _is_dim(batch, 0))
    if not told or batch is None or not (parts or _is_dim(batch, 0)):
        return None
    return Scramble(heads, tokens, width, batch, folded=not parts, rank=len(target), parts=parts or 1)


def _is_told_by_name(wide: Size, target: Shape) -> bool:
    """Tell whether a linear layer's unknown output width is split as (b, heads, -1, width // heads)."""
    if len(target) != 4 or not _is_unknown_width(wide) or not target[2].left_over:
        return False
    _, heads, _, width = target
    return heads.symbol is not None and width.symbol is not None and width.symbol.divisor is heads.symbol


def _is_unknown_width(size: Size) -> bool:
    """The size is what a linear layer maps to, of which nothing is known."""
    key = size.symbol
    return key is not None and key.kind is Kind.LEFT_OVER and key.names == ("width",)


def _parts(front: Shape, heads: Size) -> int:
    """Return the number of trailing dimensions that make up the heads; 0 where they share one with others."""
    return next((count for count in range(1, len(front) + 1) if product(front[-count:]) == heads), 0)


def _is_dim(size: Size, dim: int) -> bool:
    """Tell whether a size is dimension ``dim`` of some tensor."""
    key = size.symbol
    return key is not None and key.kind is Kind.DIMENSION and key.number == dim


def is_told(source: Shape, target: Shape) -> bool:
    """Tell whether the sizes on both sides are known well enough to tell their order."""
    solved = not any(key.left_over for size in (*source, *target) for key in size.symbols)
    return solved and product(source) == product(target)


def crossed(source: Shape, target: Shape) -> Crossing | None:
    """Return how dimensions change places in a reshape; None where they do not, or where it is not certain."""
    if _unmatched(source, target) is None or product(source) != product(target):
        return None
    (left, right), (lefts, rights) = _core(source, target)
    if not 2 <= len(left) <= _MOST or not 2 <= len(right) <= _MOST:
        return None
    if any(_counts_rows_more(each, side) for side in (left, right) for each in side):
        return None  # padded, to be laid out anew on purpose
    if any(key.left_over for each in (*left, *right) for key in each.size.symbols):
        return None  # it may be 1
    moved, kept = _only_order(left, right), _only_order(right, left)
    if moved is None and kept is None:
        return None
    return Crossing(_whole_order(moved, lefts, len(source)), _whole_order(kept, rights, len(target)))


_MOST = 4  # dimensions that change places


def _counts_rows_more(part: _Part, side: Parts) -> bool:
    """Tell whether a size may be another one and a few more, as t + 1 and 2 * t - 1 are: no width of features is."""
    if len(part.size.terms) < 2:
        return False
    others = {key for each in side if each is not part for key in each.size.symbols}
    return any(key.of_dimension or key in others for key in part.size.symbols)


class _Part(Struct, frozen=True):
    """What is left of a dimension once others are matched with a part of it."""

    dim: int
    size: Size
    whole: bool = True

    def without(self, size: Size) -> _Part | None:
        rest = self.size.divide(size)
        return None if rest is None else _Part(self.dim, rest, whole=False)


Parts = list[_Part]


def _core(source: Shape, target: Shape) -> tuple[tuple[Parts, Parts], tuple[Parts, Parts]]:
    """Both shapes without what agrees at either end; and all the parts of each, the core among them."""
    left = [_Part(dim, size) for dim, size in enumerate(source) if size != ONE]
    right = [_Part(dim, size) for dim, size in enumerate(target) if size != ONE]
    sides = left, right
    for _ in range(2):  # from the front, then from the end
        left, right = _stripped(left, right)
        left, right = left[::-1], right[::-1]
    return (left, right), sides


def _stripped(left: Parts, right: Parts) -> tuple[Parts, Parts]:
    """What is left where neither next part is a factor of the other."""
    while left and right:
        if left[0].size == right[0].size:
            left, right = left[1:], right[1:]
        elif (rest := left[0].without(right[0].size)) is not None:
            left, right = [rest, *left[1:]], right[1:]
        elif (rest := right[0].without(left[0].size)) is not None:
            left, right = left[1:], [rest, *right[1:]]
        else:
            break
    return left, right


def _only_order(parts: Parts, target: Parts) -> tuple[_Part, ...] | None:
    """The order of the parts in which they split and merge to the target, and that leaves most of them as they stand.

    None where there is none, or where several are alike in this.
    """
    wanted = tuple(each.size for each in target)
    found = [order for order in permutations(parts) if _unmatched(tuple(each.size for each in order), wanted) is None]
    fewest = min(map(_turned, found), default=0)
    best = [order for order in found if _turned(order) == fewest]
    return best[0] if len(best) == 1 else None


def _turned(order: tuple[_Part, ...]) -> int:
    """How many pairs stand the other way round."""
    return sum(later.dim < each.dim for at, each in enumerate(order) for later in order[at + 1 :])


def _whole_order(order: tuple[_Part, ...] | None, every: Parts, rank: int) -> tuple[int, ...] | None:
    """All dimensions of a shape, some in another order; None where one of these is a part, or has others between."""
    if order is None or len(every) < rank or not all(each.whole for each in order):
        return None
    dims = sorted(each.dim for each in order)
    if dims != list(range(dims[0], dims[-1] + 1)):
        return None
    return (*range(dims[0]), *(each.dim for each in order), *range(dims[-1] + 1, rank))


def _unmatched(source: Shape, target: Shape) -> tuple[list[Size], list[Size]] | None:
    """Return the rest of both shapes where neither next dimension is a factor of the other; None where all agrees."""
    left = [size for size in source if size != ONE]
    right = [size for size in target if size != ONE]
    while left and right:
        if left[0] == right[0]:
            left, right = left[1:], right[1:]
        elif (rest := left[0].divide(right[0])) is not None:
            left, right = [rest, *left[1:]], right[1:]
        elif (rest := right[0].divide(left[0])) is not None:
            left, right = left[1:], [rest, *right[1:]]
        else:
            return left, right
    return None
