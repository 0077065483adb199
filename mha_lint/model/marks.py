"""These types hold what is known of the numbers in masks, and of what scores were masked by."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.fuel import MOST_NUMBERS
from mha_lint.model.sizes import Size

Numbers = frozenset[float] | None  # what each number may be; None where that is not known
YES_OR_NO, ZERO, ONES = frozenset({0.0, 1.0}), frozenset({0.0}), frozenset({1.0})
LOWEST = frozenset({-math.inf})
_SINGLE = {"min": -3.4028234663852886e38, "max": 3.4028234663852886e38}
_TINY = {"tiny": 1e-38, "smallest_normal": 1e-38, "eps": 1e-7}  # about as much as in float32


def of_finfo(name: str, *, single: bool) -> Numbers:
    """What ``torch.finfo(dtype)`` knows by a name: of a type that is not known to be float32, min is the lowest."""
    if name in _TINY:
        return frozenset({_TINY[name]})
    if single and name in _SINGLE:
        return frozenset({_SINGLE[name]})
    return LOWEST if name == "min" else None


class Padding(Struct, frozen=True):
    """The numbers of a mask, told by whether a token is padding: ``padded`` where it is, ``tokens`` where it is not.

    ``dim`` is the dimension along which the tokens lie, from the end, and ``rank`` the number of dimensions; None where
    that is not known. ``column`` is the expression that put one dimension of size 1 behind the tokens.
    """

    padded: Numbers
    tokens: Numbers
    dim: int | None = -1
    rank: int | None = 2
    column: ast.expr | None = None

    def changed(self, function: Callable[[float], float]) -> Padding:
        return Padding(_each(self.padded, function), _each(self.tokens, function), self.dim, self.rank, self.column)

    def somewhere(self) -> Padding:
        """The same with no knowledge of along which dimension the tokens lie."""
        return Padding(self.padded, self.tokens, None, None)

    def laid(self, dim: int | None, rank: int | None, column: ast.expr | None = None) -> Padding:
        """The same with its tokens along another dimension."""
        return Padding(self.padded, self.tokens, dim, rank, column if dim == -2 else None)


class Mask(Struct, frozen=True):
    """A tensor over queries t and keys s whose numbers are told by where they stand.

    ``inside`` are those where s <= t + ``diagonal``, ``outside`` those elsewhere; where ``diagonal`` is None, inside
    is where some condition holds. A tensor of ones everywhere has the same inside and outside. ``boolean`` is None
    where the type is not known. ``sizes`` are those of the two dimensions, where they were written.

    ``grid`` holds the sizes that the last two dimensions have now, where these are surely queries and keys and both are
    counted from 0. Where it is None the queries may begin at a later one, as behind a cache.
    """

    inside: Numbers
    outside: Numbers
    boolean: bool | None
    diagonal: int | None = None
    sizes: tuple[Size, Size] | None = None
    random: bool = False  # drawn, or told by what was
    padding: Padding | None = None  # the same numbers, told by padding
    grid: tuple[Size, Size] | None = None

    @property
    def numbers(self) -> Numbers:
        return None if self.inside is None or self.outside is None else self.inside | self.outside

    def numbers_at(self, *, padded: bool) -> Numbers:
        """The numbers where a token is padding, or where it is not."""
        if self.padding is None:
            return self.numbers
        return self.padding.padded if padded else self.padding.tokens

    @property
    def marks(self) -> bool:
        """Tell whether the mask is boolean and not the same everywhere, or its numbers are 0 and 1."""
        return (self.boolean is True and not self.uniform) or self.numbers == YES_OR_NO

    @property
    def uniform(self) -> bool:
        """Tell whether one known number stands everywhere."""
        return self.inside == self.outside and self.inside is not None and len(self.inside) == 1

    def changed(self, function: Callable[[float], float], *, boolean: bool | None) -> Mask:
        """The mask with each number changed; sets of them stay small."""
        inside, outside = _each(self.inside, function), _each(self.outside, function)
        padding = None if self.padding is None else self.padding.changed(function)
        return replace(self, inside=inside, outside=outside, boolean=boolean, padding=padding)

    def transposed(self) -> Mask:
        """The same with queries and keys swapped: s <= t + d becomes t <= s + d, or not s <= t - d - 1."""
        sizes = None if self.sizes is None else self.sizes[::-1]
        grid = None if self.grid is None else self.grid[::-1]
        padding = None if self.padding is None else self.padding.somewhere()
        if self.diagonal is None:
            return Mask(self.inside, self.outside, self.boolean, None, sizes, padding=padding, grid=grid)
        return Mask(self.outside, self.inside, self.boolean, -self.diagonal - 1, sizes, padding=padding, grid=grid)

    def somewhere(self) -> Mask:
        """The same with no knowledge of where which numbers stand."""
        padding = None if self.padding is None else self.padding.somewhere()
        return replace(self, diagonal=None, sizes=None, padding=padding, grid=None)


class Positions(Struct, frozen=True):
    """``torch.arange(...)``: the positions of keys, or, once they stand in a column, of queries.

    ``count`` is how many there are, where they surely begin at 0 and all other dimensions have the size 1. ``rank`` is
    the number of dimensions, where it is known.
    """

    column: bool = False
    count: Size | None = None
    rank: int | None = None


class Default(Struct, frozen=True):
    """A parameter of a function that has a number for its default."""

    function: ast.AST
    name: str


class Masking(Struct, frozen=True):
    """One way in which scores or weights were masked, and where.

    ``numbers`` are those that scores were filled with; 0 and 1 where they were added a mask of these.

    They are the ``default`` of a parameter, where one is named: they count where nobody hands it another.

    *fill*: filled at the marked entries. *times*: multiplied by a mask. *add*: something was added, a mask of
    ``numbers`` where these are known. *mask*: what was added, or is to be added, was filled there. *unknown*: handed to
    code that is not known. *before*: of weights, the scores were masked in some way. *zero*: of weights, filled with 0
    or multiplied by a mask. *settled*: of weights, normalised again, or changed in another way.
    """

    kind: str
    node: ast.expr | None = None
    numbers: Numbers = None
    default: Default | None = None


GIVEN = Mask(frozenset({1.0}), frozenset({0.0}), boolean=True)  # where some condition holds
BY_PLACE = Mask(None, None, boolean=True)  # a band, or the diagonal itself: told by positions in another way
NOT_KNOWN = Mask(None, None, boolean=None)
DRAWN = Mask(None, None, boolean=False, random=True)
BEFORE, SETTLED = Masking("before"), Masking("settled")


def constant(number: float, *, boolean: bool | None = False, sizes: tuple[Size, Size] | None = None) -> Mask:
    """The same number everywhere."""
    return Mask(frozenset({float(number)}), frozenset({float(number)}), boolean, None, sizes)


def triangle(diagonal: int | None) -> Mask:
    """1 where s <= t + diagonal."""
    return Mask(frozenset({1.0}), frozenset({0.0}), True, diagonal)


def combined(
    function: Callable[[float, float], float],
    left: Mask,
    right: Mask,
    *,
    boolean: bool | None,
    absorbing: Numbers = None,
) -> Mask:
    """Two masks elementwise. ``absorbing`` numbers decide the result whatever the other is: 0 of a product."""
    sizes = left.sizes if left.sizes is not None else right.sizes
    diagonal = left.diagonal if left.diagonal is not None else right.diagonal
    if right.uniform or (left.diagonal is not None and right.diagonal is None):
        diagonal, parts = left.diagonal, ((left.inside, right.numbers), (left.outside, right.numbers))
    elif left.uniform or (right.diagonal is not None and left.diagonal is None):
        diagonal, parts = right.diagonal, ((left.numbers, right.inside), (left.numbers, right.outside))
    elif left.diagonal == right.diagonal is not None:
        parts = ((left.inside, right.inside), (left.outside, right.outside))
    else:  # two conditions, or triangles of two kinds, such as a window
        diagonal, parts = None, ((left.numbers, right.numbers),) * 2
    inside, outside = (_pairs(function, *part, absorbing) for part in parts)
    padding = _joined_padding(function, left, right, absorbing)
    grid = common_grid((left, right), diagonal)
    return Mask(inside, outside, boolean, diagonal, sizes, left.random or right.random, padding, grid)


def common_grid(masks: tuple[Mask, ...], diagonal: int | None) -> tuple[Size, Size] | None:
    """The grid of masks that are joined elementwise: that of the triangles among them, where it is the same one."""
    grids = {mask.grid for mask in masks if mask.diagonal is not None and mask.diagonal == diagonal}
    return grids.pop() if len(grids) == 1 else None


def _joined_padding(
    function: Callable[[float, float], float], left: Mask, right: Mask, absorbing: Numbers
) -> Padding | None:
    """Two masks elementwise, told by padding; None where it lies along the queries in one and the keys in the other."""
    known = left.padding or right.padding
    if known is None:
        return None
    if left.padding is not None and right.padding is not None and left.padding.dim != right.padding.dim:
        return None
    sides = []
    for padded in (True, False):
        first, second = left.numbers_at(padded=padded), right.numbers_at(padded=padded)
        sides.append(_pairs(function, first, second, absorbing))
    joined = Padding(sides[0], sides[1], known.dim, known.rank, known.column)
    other = right if left.padding is not None else left
    told = other.padding is not None or other.uniform or other.diagonal is not None
    return joined if told else joined.somewhere()  # the other may hide padded keys


def _each(numbers: Numbers, function: Callable[[float], float]) -> Numbers:
    return None if numbers is None else frozenset(map(function, numbers))


def _pairs(function: Callable[[float, float], float], left: Numbers, right: Numbers, absorbing: Numbers) -> Numbers:
    if left is not None and right is not None:
        found = frozenset(function(first, second) for first in left for second in right)
        return None if len(found) > MOST_NUMBERS or any(map(math.isnan, found)) else found
    known = left if left is not None else right
    return known if known is not None and known == absorbing else None
