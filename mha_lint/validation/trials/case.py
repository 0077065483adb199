"""Define what one trial runs, and what it left."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.pairing import Pair
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import Noting


class Case(Struct, frozen=True):
    """Hold what one trial runs. ``copies`` are of before and after.

    ``regime`` is one in which both must agree, where the setup is made so: every dropout at zero, or a single head.
    """

    setup: Setup
    pair: Pair
    copies: tuple[Pristine, Pristine]
    assignment: Assignment
    conditions: drawing.Conditions
    regime: str = ""
    way: trial.Way = trial.TRAINED

    @property
    def positional(self) -> tuple[str, ...]:
        return self.pair.positional

    def make(self) -> drawing.Inputs:
        inspected = self.setup.inspected
        return drawing.make_inputs(
            self.setup.specs, self.assignment, inspected.sizes, inspected.vocabulary, self.conditions
        )

    def shapes(self) -> tuple[str, ...]:
        """The shapes of the inputs; of the parameters where there are no inputs."""
        parameters = self.pair.before.named_parameters()
        return self.make().shapes or tuple(f"{name}: {tuple(value.shape)}" for name, value in parameters)

    def with_default_dtype(self) -> Case:
        return replace(self, conditions=replace(self.conditions, default=True))

    def without_casts(self) -> Case:
        return replace(self, conditions=replace(self.conditions, widened=True))

    def forward_alone(self) -> Case:
        return replace(self, way=trial.Way(learns=False, backward=False))

    def under_autocast(self) -> Case:
        return replace(self, conditions=replace(self.conditions, autocast=True))


class Tried(Struct, frozen=True):
    """A trial in which neither text raised. ``first`` is set for the first trials of a setup in each dtype and mode."""

    case: Case
    note: Noting
    before: trial.Seen
    after: trial.Seen
    comparison: trial.Comparison
    first: bool
