"""What a value may be, as far as the screen asks: sets of facets, and how operations on tensors change them.

A facet says "may be", so that a set can only be too large. There are no sizes and no strides here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# How a tensor may lie in memory. What is *given* comes from outside: it is taken to be contiguous, with no proof.
CONTIGUOUS, TRANSPOSED, GAPPED = 1, 2, 4  # gapped: cut or expanded
GIVEN, GIVEN_TRANSPOSED, GIVEN_GAPPED = 8, 16, 32
KNOWN = 64  # the result of a known operation: its shape may be known
ONE, LITERAL = 128, 256  # it may have a size that is 1, or one that is written in the code; or be such a size
SCORES, WEIGHTS, CONTEXT = 512, 1024, 2048  # what it may be to attention; what softmax made counts as weights
INTEGER = 4096  # it may be a size, or another integer that can be followed
UNMOVED = 8192  # what a map or a product made, its dimensions not moved since, but for the last two
UNSCALED = 32768  # no number has multiplied it since it was mapped, or it is the product of two such
HOME, OWN = 1 << 20, 1 << 21  # it may be on the default device; it may be on the module's, as maps and parameters are
ACROSS = 16384  # sizes, of which one that is not called heads may come last but one
MARKED, TRIANGULAR, POSITIONS = 1 << 22, 1 << 23, 1 << 24  # it may be a mask, a causal one, or made of positions
HUGE, TINY, NOUGHT = 1 << 25, 1 << 26, 1 << 27  # it may be, or hold, a number beyond float16, about 0, or 0

SIZES = ONE | LITERAL
NUMBERS = HUGE | TINY | NOUGHT
ROLES = SCORES | WEIGHTS | CONTEXT | UNMOVED | UNSCALED | HOME | OWN | MARKED | TRIANGULAR | POSITIONS
DISORDERED = TRANSPOSED | GAPPED | GIVEN_TRANSPOSED | GIVEN_GAPPED
TENSOR = CONTIGUOUS | DISORDERED | KNOWN
_ABOUT = SIZES | ROLES | KNOWN  # what changes of layout leave alone

Facets = int


@dataclass(frozen=True, slots=True)
class Rich:
    """Facets, and what else it may be: functions, classes and layers that can be called, tuples, lists."""

    facets: Facets
    others: frozenset[object]


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple or list whose items are known."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Many:
    """A sequence of which only is known what its items may be."""

    item: Value


Value = Facets | Rich

NESTED = object()  # what holds this is as well a sequence of its like
MAX_DEPTH = 2  # of sequences in sequences
MAX_ALTERNATIVES = 4
MAX_ITEMS = 10


def facets(value: Value) -> Facets:
    return value if isinstance(value, int) else value.facets


def others(value: Value) -> frozenset[object]:
    return frozenset() if isinstance(value, int) else value.others


def rich(*others: object, facets: Facets = 0) -> Rich:
    return Rich(facets, frozenset(others))


def items(values: Sequence[Value]) -> Rich:
    """A tuple of these."""
    if len(values) > MAX_ITEMS:
        return many(either(values))
    return rich(Items(tuple(_flat(value) if _depth(value) >= MAX_DEPTH else value for value in values)))


def many(item: Value) -> Rich:
    """A sequence of such items."""
    return rich(Many(_flat(item) if _depth(item) >= MAX_DEPTH else item))


def _depth(value: Value) -> int:
    deepest = 0
    for other in others(value):
        if isinstance(other, Items):
            deepest = max(deepest, 1 + max(map(_depth, other.values), default=0))
        elif isinstance(other, Many):
            deepest = max(deepest, 1 + _depth(other.item))
    return deepest


def _flat(value: Value) -> Value:
    """The value or anything in it, however deep."""
    return Rich(all_facets(value), frozenset({*_leaves(value), NESTED}))


def _leaves(value: Value) -> Iterator[object]:
    for other in others(value):
        if isinstance(other, Items):
            for item in other.values:
                yield from _leaves(item)
        elif isinstance(other, Many):
            yield from _leaves(other.item)
        else:
            yield other


def element(value: Value) -> Value:
    """What iterating over it may give."""
    result: Value = cut(facets(value))
    for other in others(value):
        if isinstance(other, Items):
            result = joined(result, either(other.values))
        elif isinstance(other, Many):
            result = joined(result, other.item)
        elif other is NESTED:
            result = joined(result, value)
    return result


def joined(left: Value, right: Value) -> Value:
    """What may be either."""
    if isinstance(left, int):
        if isinstance(right, int):
            return left | right
        return right if not left else Rich(left | right.facets, right.others)
    if isinstance(right, int):
        return left if not right else Rich(left.facets | right, left.others)
    both = left.others | right.others
    sequences = [other for other in both if isinstance(other, (Items, Many))]
    if len(sequences) > MAX_ALTERNATIVES or (
        len(sequences) > 1 and any(isinstance(other, Many) for other in sequences)
    ):
        both = both.difference(sequences) | many(element(Rich(0, frozenset(sequences)))).others
    return Rich(left.facets | right.facets, both)


def either(values: Iterable[Value]) -> Value:
    """What may be any of them."""
    result: Value = 0
    for value in values:
        result = joined(result, value)
    return result


def all_facets(value: Value) -> Facets:
    """The facets of a value and of all the items in it."""
    found = facets(value)
    for other in others(value):
        if isinstance(other, Items):
            for item in other.values:
                found |= all_facets(item)
        elif isinstance(other, Many):
            found |= all_facets(other.item)
    return found


def unproved(value: Value) -> Value:
    """What one of several functions gives: contiguous on some ways alone."""
    if isinstance(value, Rich):
        found: list[object] = []
        for other in value.others:
            if isinstance(other, Items):
                other = Items(tuple(map(unproved, other.values)))
            elif isinstance(other, Many):
                other = Many(unproved(other.item))
            found.append(other)
        return Rich(facets(unproved(value.facets)), frozenset(found))
    known = (
        (value & CONTIGUOUS and GIVEN) | (value & TRANSPOSED and GIVEN_TRANSPOSED) | (value & GAPPED and GIVEN_GAPPED)
    )
    return value & ~(CONTIGUOUS | TRANSPOSED | GAPPED) | known


# --- changes of layout


def transposed(tensor: Facets) -> Facets:
    result = tensor & (_ABOUT & ~UNMOVED | GAPPED | GIVEN_GAPPED) | KNOWN
    if tensor & CONTIGUOUS:
        result |= TRANSPOSED | (CONTIGUOUS if tensor & ONE else 0)
    if tensor & GIVEN:
        result |= GIVEN_TRANSPOSED
    if tensor & (TRANSPOSED | GAPPED):
        result |= TRANSPOSED | CONTIGUOUS
    if tensor & (GIVEN_TRANSPOSED | GIVEN_GAPPED):
        result |= GIVEN_TRANSPOSED | GIVEN
    return result


def cut(tensor: Facets, *, inner: bool = False) -> Facets:
    """A part of it along some dimension; ``inner`` if that is not the first."""
    if inner and not tensor & DISORDERED:
        return tensor & _ABOUT | (GAPPED if tensor & CONTIGUOUS else 0) | (GIVEN_GAPPED if tensor & GIVEN else 0)
    result = tensor
    if tensor & (CONTIGUOUS | TRANSPOSED | GAPPED):
        result |= GAPPED | CONTIGUOUS
    if tensor & (GIVEN | GIVEN_TRANSPOSED | GIVEN_GAPPED):
        result |= GIVEN_GAPPED | GIVEN
    return result


def expanded(tensor: Facets) -> Facets:
    result = tensor & ~(CONTIGUOUS | GIVEN) | KNOWN
    if tensor & (CONTIGUOUS | TRANSPOSED):
        result |= GAPPED
    if tensor & (GIVEN | GIVEN_TRANSPOSED):
        result |= GIVEN_GAPPED
    return result


def elementwise(*operands: Facets) -> Facets:
    """Allocates in the order of the first operand, without its gaps.

    A size of 1 is broadcast: it stays where all have it. (What is added to a tensor has no more dimensions than it.)
    """
    result, ones = 0, ONE
    for operand in operands:
        result |= operand
        if operand & TENSOR:
            ones &= operand
    if not result & TENSOR:
        return result
    first = operands[0]
    result = result & ~(INTEGER | ONE | DISORDERED) | result & ones | first & DISORDERED
    if first & GAPPED:
        result |= CONTIGUOUS
    if first & GIVEN_GAPPED:
        result |= GIVEN
    return result


def reshaped(tensor: Facets, sizes: Facets, *, copies: bool) -> Facets:
    result = tensor | KNOWN | sizes & SIZES
    if tensor & DISORDERED:
        result |= GIVEN  # a copy, though in a batch of 1 it may be a view
        if not copies or result & (LITERAL | GAPPED):  # what looked cut may be whole
            result |= CONTIGUOUS
    return result


def allocated(*operands: Facets, keeps: Facets = SIZES | ROLES) -> Facets:
    """A new contiguous tensor."""
    result = 0
    for operand in operands:
        result |= operand
    return result & keeps | CONTIGUOUS | KNOWN


def multiplied(left: Facets, right: Facets) -> Facets:
    """A matrix product of the two."""
    both = left | right
    result = both & (SIZES | HOME) | CONTIGUOUS | KNOWN | SCORES | UNMOVED | left & right & UNSCALED
    return result | CONTEXT | WEIGHTS if both & WEIGHTS else result


def may_meet(*operands: Facets) -> bool:
    """Whether one may be on the default device and another on the module's."""
    return any(operand & HOME for operand in operands) and any(
        operand & (OWN | SCORES | WEIGHTS | CONTEXT) for operand in operands
    )
