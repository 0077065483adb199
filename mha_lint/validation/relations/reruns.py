"""Run *before* once more: in another dtype, or as it might have been rounded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.relations import roundings
from mha_lint.validation.trials import arguments, drawing, trial
from mha_lint.validation.trials.pristine import copied


class Rerun(Struct, frozen=True):
    """Run *before* once more under other conditions, as the two executions were run; or ``after``."""

    module: Any
    after: Any
    make: Callable[[drawing.Conditions], drawing.Inputs]
    positional: tuple[str, ...]
    way: trial.Way = trial.TRAINED

    def at(
        self,
        conditions: drawing.Conditions,
        module: Any,
        context: contextlib.AbstractContextManager[None] | None = None,
        like: trial.Seen | None = None,
    ) -> trial.Seen:
        """Run ``module``, a copy in the dtype of the conditions, and return what it leaves."""
        return trial.run(
            module, lambda: self.make(conditions), self.positional, conditions, context, like, way=self.way
        )

    def rounded_otherwise(
        self,
        conditions: drawing.Conditions,
        context: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> Iterator[trial.Seen]:
        """Yield what before leaves where its inputs and parameters are off by rounding, and where its sums are."""
        yield self._with_nudged_inputs(conditions, context() if context else None)
        yield from self.summed_otherwise(conditions, context)

    def summed_otherwise(
        self,
        conditions: drawing.Conditions,
        context: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> Iterator[trial.Seen]:
        """Yield what before leaves where all of its sums are off by rounding, a few times."""
        subject = copied(self.module).to(conditions.dtype)
        for rounded in roundings.SEVERAL:
            with rounded():
                seen = self.at(conditions, subject, context() if context else None)
            yield seen

    def _with_nudged_inputs(
        self, conditions: drawing.Conditions, context: contextlib.AbstractContextManager[None] | None
    ) -> trial.Seen:
        subject = copied(self.module).to(conditions.dtype)
        with torch.no_grad():
            for value in trial.sized(subject):
                if value.is_floating_point():
                    value.copy_(arguments.nudged(value))
        other = replace(self, make=lambda at: arguments.changed(self.make(at), arguments.nudged))
        return other.at(conditions, subject, context)
