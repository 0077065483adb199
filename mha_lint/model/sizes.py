"""Symbolic sizes: integer polynomials over named symbols, with exact division.

A symbol stands for a size that the code does not spell out (``b``, ``config.n_embd``). Every symbol is taken
to be at least 2: the layout model answers for tensors in which no size involved is 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import cache, lru_cache
from threading import Lock
from typing import final
from weakref import WeakValueDictionary

from msgspec import Struct

from mha_lint.model import keys
from mha_lint.model.fuel import MAX_DEGREE, MAX_TERMS, OutOfSteps
from mha_lint.model.keys import Key

Monomial = tuple[Key, ...]


@final
class Size(Struct, frozen=True, eq=False, weakref=True):
    """A polynomial with integer coefficients: ``terms`` maps sorted monomials to non-zero coefficients.

    Equal sizes are one object, so that they compare, and hash, by identity. Arithmetic raises :class:`OutOfSteps` where
    a result would be larger than any that code computes in earnest.
    """

    terms: tuple[tuple[Monomial, int], ...]
    constant: int | None  # the value, when no symbol is involved
    symbol: Key | None  # the symbol, when the size is one symbol and nothing else
    symbols: frozenset[Key]

    @property
    def left_over(self) -> bool:
        """It was written as -1, or not at all, and could not be solved."""
        return self.symbol is not None and self.symbol.left_over

    @property
    def summands(self) -> tuple[Size, ...]:
        """The sizes that are added up."""
        return tuple(_size((term,)) for term in self.terms)

    @property
    def _degree(self) -> int:
        """Terms are in the order of their degrees."""
        return len(self.terms[-1][0]) if self.terms else 0

    def __add__(self, other: Size) -> Size:
        return _sum(self, other)

    def __neg__(self) -> Size:
        return _negative(self)

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __mul__(self, other: Size) -> Size:
        return other if self is ONE else self if other is ONE else _product(self, other)

    def divide(self, other: Size) -> Size | None:
        """The exact quotient, or None where ``other`` does not divide as a polynomial."""
        if not other.terms:
            return None
        quotient, rest = ZERO, self
        lead, lead_coefficient = other.terms[-1]
        while rest.terms:
            monomial, coefficient = rest.terms[-1]
            factor = _without(monomial, lead)
            if factor is None or coefficient % lead_coefficient:
                return None
            step = _size(((factor, coefficient // lead_coefficient),))
            quotient, rest = quotient + step, rest - step * other
            if rest.terms and not _order(rest.terms[-1][0]) < _order(monomial):
                return None
        return quotient

    def sign(self) -> int | None:
        """+1 or -1 where the size has that sign for all symbols >= 2, 0 where it is zero, else None."""
        try:
            return _sign(self)
        except OutOfSteps:  # a term of many symbols: what it is made of has a term for each choice of them
            return None

    def substitute(self, definitions: Mapping[Key, Size]) -> Size:
        """Replace every defined symbol, repeatedly, until none is left."""
        size = self
        while not definitions.keys().isdisjoint(size.symbols):
            size = size.renamed(definitions)
        return size

    def renamed(self, names: Mapping[Key, Size]) -> Size:
        """Replace every symbol that is named otherwise, once: a name may hold another one's symbol."""
        if self.symbol is not None:
            return names.get(self.symbol, self)
        total = ZERO
        for monomial, coefficient in self.terms:
            product = constant(coefficient)
            for name in monomial:
                product = product * names.get(name, symbol(name))
            total = total + product
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        parts = []
        for monomial, coefficient in reversed(self.terms):
            factors = [str(coefficient)] if coefficient != 1 or not monomial else []
            parts.append("*".join([*factors, *map(str, monomial)]))
        return " + ".join(parts).replace("+ -", "- ")


_SIZES: WeakValueDictionary[Hashable, Size] = WeakValueDictionary()  # of the files that somebody still holds
_LOCK = Lock()  # files are fixed in several threads


def _size(terms: tuple[tuple[Monomial, int], ...]) -> Size:
    """The only size that has these terms."""
    with _LOCK:
        found = _SIZES.get(terms)
        if found is None:
            number: int | None = None
            name: Key | None = None
            if not terms:
                number = 0
            elif len(terms) == 1:
                monomial, coefficient = terms[0]
                if not monomial:
                    number = coefficient
                elif len(monomial) == 1 and coefficient == 1:
                    name = monomial[0]
            symbols = frozenset(name for monomial, _ in terms for name in monomial)
            found = _SIZES[terms] = Size(terms, number, name, symbols)
        return found


# The same few sizes meet again and again, on each path: what they come to is kept.


@lru_cache(maxsize=16384)
def _sum(left: Size, right: Size) -> Size:
    return _collect([*left.terms, *right.terms])


@lru_cache(maxsize=16384)
def _negative(size: Size) -> Size:
    return _size(tuple((monomial, -coefficient) for monomial, coefficient in size.terms))


@lru_cache(maxsize=16384)
def _product(left: Size, right: Size) -> Size:
    if len(left.terms) * len(right.terms) > MAX_TERMS or left._degree + right._degree > MAX_DEGREE:
        raise OutOfSteps
    return _collect((tuple(sorted(first + second)), a * b) for first, a in left.terms for second, b in right.terms)


@lru_cache(maxsize=16384)
def _sign(size: Size) -> int | None:
    if not size.terms:
        return 0
    shifted = ZERO
    for monomial, coefficient in size.terms:
        product = constant(coefficient)
        for name in monomial:
            product = product * (symbol(name) + constant(2))
        shifted = shifted + product
    if not any(not monomial for monomial, _ in shifted.terms):
        return None  # no constant part left: zero is reached at the smallest sizes
    if all(coefficient > 0 for _, coefficient in shifted.terms):
        return 1
    if all(coefficient < 0 for _, coefficient in shifted.terms):
        return -1
    return None


def _order(monomial: Monomial) -> tuple[int, Monomial]:
    return len(monomial), monomial


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Size:
    totals: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        totals[monomial] = totals.get(monomial, 0) + coefficient
    if len(totals) > MAX_TERMS:
        raise OutOfSteps
    kept = sorted(((m, c) for m, c in totals.items() if c), key=lambda term: _order(term[0]))
    return _size(tuple(kept))


def _without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    rest = list(monomial)
    for name in divisor:
        if name not in rest:
            return None
        rest.remove(name)
    return tuple(rest)


ZERO = _size(())


@cache
def constant(value: int) -> Size:
    return _size((((), value),)) if value else ZERO


@lru_cache(maxsize=4096)
def symbol(key: Key) -> Size:
    return _size((((key,), 1),))


ONE = constant(1)


def product(sizes: Iterable[Size]) -> Size:
    total = ONE
    for size in sizes:
        total = total * size
    return total


def substituted(sizes: tuple[Size, ...], definitions: Mapping[Key, Size]) -> tuple[Size, ...]:
    """The sizes with every defined symbol replaced; the same tuple where none of them has one."""
    defined = definitions.keys()
    for size in sizes:
        if not defined.isdisjoint(size.symbols):
            return tuple([each.substitute(definitions) for each in sizes])
    return sizes


def equate(left: Size, right: Size, definitions: dict[Key, Size]) -> None:
    """Learn from ``left == right``: define a symbol by the rest where that is possible, else learn nothing.

    Symbols that stand for a dimension of some tensor (``x.shape[2]``) are defined in preference to those that
    stand for a parameter or an attribute, so that sizes are told in the constructor's terms.
    """
    left, right = left.substitute(definitions), right.substitute(definitions)
    if left == right:
        return
    if len(left.terms) == 1 and len(right.terms) == 1:
        left, right = _cancel(left, right)
    sides = [
        (a, b) for a, b in ((left, right), (right, left)) if a.symbol and a.symbol not in b.symbols and b.sign() == 1
    ]
    if not sides:
        return
    of_dimensions = [side for side in sides if side[0].symbol is not None and side[0].symbol.of_dimension]
    defined, meaning = (of_dimensions or sides)[0]
    assert defined.symbol is not None
    definitions[defined.symbol] = meaning


def divided(left: Size, right: Size, definitions: dict[Key, Size]) -> Size:
    """``left // right``: exact where it can be, else a new symbol q with left = right * q."""
    if left.constant is not None and right.constant:
        return constant(left.constant // right.constant)
    exact = left.divide(right)
    if exact is not None:
        return exact
    quotient = symbol(keys.quotient(f"({left} // {right})", left.symbols | right.symbols, right.symbol))
    equate(left, right * quotient, definitions)
    return quotient.substitute(definitions)


def _cancel(left: Size, right: Size) -> tuple[Size, Size]:
    """Divide two one-term sizes by what they have in common."""
    (a, a_coefficient), (b, b_coefficient) = left.terms[0], right.terms[0]
    a_rest, b_rest = list(a), list(b)
    for name in a:
        if name in b_rest:
            a_rest.remove(name)
            b_rest.remove(name)
    if a_coefficient % b_coefficient == 0:
        a_coefficient, b_coefficient = a_coefficient // b_coefficient, 1
    elif b_coefficient % a_coefficient == 0:
        a_coefficient, b_coefficient = 1, b_coefficient // a_coefficient
    return _size(((tuple(a_rest), a_coefficient),)), _size(((tuple(b_rest), b_coefficient),))
