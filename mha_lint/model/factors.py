"""Real numbers in symbolic form, such as the scale of attention scores: ``head_dim ** -0.5``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from mha_lint.model.keys import Key
from mha_lint.model.sizes import Size, symbol


class Factor(Struct, frozen=True):
    """A coefficient times powers of sizes. ``powers`` are sorted; no exponent is 0."""

    coefficient: float = 1.0
    powers: tuple[tuple[Size, float], ...] = ()

    @property
    def constant(self) -> float | None:
        """The value, when no size is involved."""
        return None if self.powers and self.coefficient else self.coefficient

    def __mul__(self, other: Factor) -> Factor:
        return _collected(self.coefficient * other.coefficient, (*self.powers, *other.powers))

    def __neg__(self) -> Factor:
        return Factor(-self.coefficient, self.powers)

    def __truediv__(self, other: Factor) -> Factor | None:
        inverse = other.power(-1.0)
        return None if inverse is None else self * inverse

    def power(self, exponent: float) -> Factor | None:
        """The number to a power; None where that is no real number, or too large a one."""
        try:
            coefficient = self.coefficient**exponent
        except (ArithmeticError, ValueError):
            return None
        if isinstance(coefficient, complex):
            return None
        return Factor(coefficient, tuple((size, power * exponent) for size, power in self.powers if exponent))

    def substitute(self, definitions: Mapping[Key, Size]) -> Factor:
        """The same number with every defined symbol replaced."""
        if not self.powers or not definitions:
            return self
        result: Factor | None = Factor(self.coefficient)
        for size, power in self.powers:
            each = of_size(size.substitute(definitions)).power(power)
            result = None if each is None or result is None else result * each
        return self if result is None else result

    def same(self, other: Factor) -> bool:
        """Tell whether the two factors are equal, up to the rounding of coefficients."""
        near = math.isclose(self.coefficient, other.coefficient, rel_tol=1e-6)
        return near and self.powers == other.powers


def of_number(value: float) -> Factor:
    return Factor(float(value))


def of_size(size: Size) -> Factor:
    """A size as a factor: a product of symbols comes apart, a sum stays whole."""
    if len(size.terms) != 1:
        return Factor(1.0, ((size, 1.0),)) if size.terms else Factor(0.0)
    ((names, coefficient),) = size.terms
    return _collected(float(coefficient), tuple((symbol(name), 1.0) for name in names))


def _collected(coefficient: float, powers: tuple[tuple[Size, float], ...]) -> Factor:
    totals: dict[Size, float] = {}
    for size, power in powers:
        totals[size] = totals.get(size, 0.0) + power
    kept = sorted(((size, power) for size, power in totals.items() if power), key=lambda each: str(each[0]))
    return Factor(coefficient, tuple(kept))
