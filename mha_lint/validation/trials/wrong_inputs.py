"""Calls with wrong inputs: what one text refuses, the other is to refuse too."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.validation.relations import roundings
from mha_lint.validation.trials import arguments, drawing, trial, uses
from mha_lint.validation.trials.refusals import refused_otherwise

Make = Callable[[], drawing.Inputs]

_UNKNOWN = "a_keyword_that_nobody_knows"
_WHOLE = "whole numbers"
_WRONG: dict[str, arguments.Change] = {
    "one feature more": lambda value: torch.cat([value, value[..., :1]], -1) if value.dim() else value,
    "one dim more": lambda value: value.unsqueeze(0),
    "one dim less": lambda value: value[0] if value.dim() and len(value) else value,
    _WHOLE: lambda value: value.long(),
    "one entry more": lambda value: torch.cat([value, value[:1]]) if value.dim() else value,
}


class WrongInputs(Struct, frozen=True):
    """Calls with inputs that most modules refuse.

    ``make`` makes right ones; ``run`` calls before, or after, with what it is given, in a dtype. What is wrong for most
    modules may be right for this one: where before accepts it, both return the same. Before may amplify rounding: where
    after takes a kernel, and runs of before that are rounded otherwise are about as far apart, they do so in float64.
    """

    signature: inspect.Signature
    make: Make
    run: Callable[[Make, bool, torch.dtype], trial.Seen]
    by_kernel: bool = False  # after takes a kernel of attention that before does not
    only_floats: bool = False  # whole numbers are not asked about

    def difference(self) -> str:
        """Describe how both differ in what they refuse. Return "" where they do not."""
        for name, wrong in _WRONG.items():
            if self.only_floats and name == _WHOLE:
                continue
            for place in range(self._floats()):
                if words := self._unchecked(place, wrong):
                    return f"an input of {name}: {words}"
        words = self._unknown()
        return f"an unknown keyword: {words}" if words else ""

    def _floats(self) -> int:
        """Return the number of float tensors to try wrong: two are enough to tell a batch that does not fit."""
        counted = _Counted()
        arguments.changed(self.make(), counted)
        return min(counted.count, 2)

    def _unchecked(self, place: int, wrong: arguments.Change) -> str:
        return self._accepted_otherwise(lambda: arguments.changed(self.make(), _Counted(place, wrong)))

    def _unknown(self) -> str:
        """Describe how both differ in what they do with a keyword that nobody knows, where they take any."""
        kinds = [each.kind for each in self.signature.parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return ""

        def make() -> drawing.Inputs:
            made = self.make()
            return replace(made, arguments={**made.arguments, _UNKNOWN: 1.0})

        return self._accepted_otherwise(make)

    def _accepted_otherwise(self, make: Make) -> str:
        """Describe how both differ on inputs that before may refuse: in what they raise, or in what they return."""
        ours, theirs = (self.run(make, of_after, torch.float32) for of_after in (False, True))
        words = refused_otherwise(ours.error, theirs.error)
        if ours.error is None and theirs.error is None:
            words = self._returned_otherwise(make, ours, theirs)
        if not words:
            return ""
        again = self.run(make, False, torch.float32)
        is_steady = type(again.error) is type(ours.error) and not uses.apart(ours.outputs, again.outputs)
        return words if is_steady else ""

    def _returned_otherwise(self, make: Make, ours: trial.Seen, theirs: trial.Seen) -> str:
        """Describe how the results of both differ: by more than other roundings of before do, or in float64."""
        words = uses.apart(ours.outputs, theirs.outputs)
        if not words or not self.by_kernel:
            return words
        otherwise: list[uses.Named] = []
        for rounded in roundings.SEVERAL:
            with rounded():
                otherwise.append(dict(self.run(make, False, torch.float32).outputs))
        return uses.apart(ours.outputs, theirs.outputs, otherwise) or self._apart_in_float64(make, words)

    def _apart_in_float64(self, make: Make, words: str) -> str:
        """Describe how both differ in float64; where before does not run in that, the ``words`` stand."""

        def wide() -> drawing.Inputs:
            return arguments.changed(make(), lambda value: value.to(torch.float64))

        ours, theirs = (self.run(wide, of_after, torch.float64) for of_after in (False, True))
        if ours.error is not None:
            return words
        return refused_otherwise(None, theirs.error) or uses.apart(ours.outputs, theirs.outputs)


class _Counted(Struct):
    """Changes the tensor at one place among the float ones."""

    place: int = -1
    change: arguments.Change = field(default=lambda value: value)
    count: int = 0

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        at, self.count = self.count, self.count + 1
        return self.change(value) if at == self.place else value
