"""The steps that were taken, and what was left out because they were spent."""

from __future__ import annotations

from mha_lint.interruption import check
from mha_lint.model.fuel import FILE_STEPS, SPARE_STEPS, STEPS_OF_OTHERS, OutOfFuel, OutOfSteps

_BETWEEN_CHECKS = 64  # steps; some 0.5 ms


class Meter:
    """Counts steps: one for each expression, call and statement."""

    def __init__(self) -> None:
        self.steps = 0  # in the function with which the path began, and in what it calls
        self._left = FILE_STEPS  # for this function and those that come after it
        self.most = STEPS_OF_OTHERS  # steps, after which states are widened
        self.limit = self.most + SPARE_STEPS
        self.truncated = False  # some path was not followed: nothing may be concluded from absence

    def begin(self, most: int) -> None:
        """A function is run on its own: from here on steps are counted, of which it may take so many."""
        self._left -= self.steps
        self.steps, self.most = 0, most
        self.limit = most + SPARE_STEPS

    @property
    def widens(self) -> bool:
        """The steps of a function are spent: from here on its states are joined into one, and no call is followed."""
        return self.steps > self.most

    @property
    def spent(self) -> int:
        """The steps of all functions so far."""
        return FILE_STEPS - self._left + self.steps

    def step(self) -> None:
        """Count one step. Raises :class:`OutOfFuel` or :class:`OutOfSteps` where it was one too many."""
        self.steps = steps = self.steps + 1
        if steps > self._left:
            raise OutOfFuel
        if steps > self.limit:
            raise OutOfSteps
        if not steps % _BETWEEN_CHECKS:
            check()
