"""A module used otherwise than once, by keyword and to learn: without gradients, by place, and many times in a row.

These are few calls beside the trials. What they return is held to the same values up to rounding: whether it agrees to
the last bit is for the trials to say.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.child.imports import in_one_line
from mha_lint.validation.relations import roundings
from mha_lint.validation.search.setups import Meaning, Setup
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.trials import construction, drawing, refusals, rows, trial
from mha_lint.validation.trials.pairing import Pair
from mha_lint.validation.trials.pristine import copied

# Within which two results are the same: units in the last place of the row's largest value, or of the tensor's.
_ROUNDING, _NOISE = 1024, 32
_OF_SUMS = 1e-3  # of the largest gradient
_WIDE = torch.float64
_FORWARD = trial.Way(learns=False, backward=False)
_STEP = 1e-2  # of each parameter, as an optimiser may change it between two calls

Named = Mapping[str, Any]  # what one run leaves, by name
Misuse = tuple[str, drawing.Conditions, Assignment]  # how both differ, in words, and where it was seen


class Lasting(Struct):
    """Lends one and the same module for each call, in the state that the last call left it in."""

    module: Any

    def lend(self, training: bool = False) -> Any:
        """The module, in train or eval mode."""
        self.module.train(training)
        return self.module


class Uses(Struct, frozen=True):
    """Compare further uses of before and after; ``meaning`` is the context in which before means what it means.

    They run in float32. Before may amplify rounding. So where ``by_kernel`` says that after takes a kernel of attention
    that before does not, and both differ, they run once more: in float32, where results may be about as far apart as
    runs of before are that are rounded otherwise, and in float64, up to the rounding of float32.
    """

    setup: Setup
    pair: Pair
    assignments: list[Assignment]
    meaning: Meaning
    relation: str
    device: str = "cpu"
    kernel_in_training: str = ""  # that attention takes in train mode, to draw the random numbers of before
    by_kernel: bool = False
    dtype: torch.dtype = torch.float32
    default: bool = False  # tensors that are made without a dtype get this one, too
    by_chance: bool = False  # results may be about as far apart as runs of before are that are rounded otherwise

    def difference(self) -> Misuse | None:
        """The first use in which both differ, in words; None where they agree in all."""
        found = self._difference()
        if found is None or not self.by_kernel:
            return found
        wide = self._in_float64()
        if wide is None:
            return found
        return replace(self, by_chance=True)._difference() or wide._difference()

    def _in_float64(self) -> Uses | None:
        """The same uses in float64; None where before does not run in that."""
        pair = replace(self.pair, before=copied(self.pair.before).to(_WIDE), after=copied(self.pair.after).to(_WIDE))
        for default in (False, True):
            wide = replace(self, pair=pair, dtype=_WIDE, default=default)
            at = wide._conditions(training=False), self.assignments[0]
            if wide._run(pair.before, at, _FORWARD, as_meant=True).error is None:
                return wide
        return None

    def _difference(self) -> Misuse | None:
        for way, words in self._ways():
            at = self._conditions(training=False), self.assignments[0]
            found = self._without_gradients(way, at)
            if found and self._without_gradients(way, at, alone=True) == "":
                return f"{words}, {found}", *at
        lasting = self._in_a_row()
        if lasting and self._in_a_row() and not self._in_a_row(alone=True):
            return lasting
        return None

    def unsteady(self, module: Any) -> str:
        """In words, how calls of one copy with the same inputs differ, without gradients or later; "" where not."""
        lasting = Lasting(copied(module))
        at = conditions(training=False), self.assignments[0]
        first = self._run(lasting, at, trial.Way(backward=False), as_meant=False)
        if first.error is not None:
            return ""
        for learns, words in ((True, "a second call"), (False, "a call without gradients")):
            other = self._run(lasting, at, trial.Way(learns=learns, backward=False), as_meant=False)
            if other.error is not None:
                return f"{words} raises {in_one_line(other.error)}"
            pairs = zip(first.outputs, other.outputs, strict=False)
            for (name, one), (_, two) in pairs:
                tensors = [each.detach() if isinstance(each, torch.Tensor) else each for each in (one, two)]
                if found := _beyond_rounding(tensors[0], tensors[1]):
                    return f"{words} gives another result: {name} {found}"
        return ""

    def ran(self, training: bool, learns: bool) -> Callable[[Any], trial.Seen]:
        """A function that calls what is lent to it once, on the smallest inputs."""
        way = trial.Way(learns=learns, backward=False)
        return lambda lent: self._run(lent, (conditions(training=training), self.assignments[0]), way, as_meant=False)

    def _ways(self) -> Iterator[tuple[trial.Way, str]]:
        signature = self.pair.signature
        kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = tuple(each.name for each in signature.parameters.values() if each.kind in kinds)
        yield trial.Way(learns=False, backward=False, by_place=names), "under no_grad, called by place"
        frozen = trial.Way(learns=False, inference=True, frozen=True, backward=False)
        yield frozen, "in inference mode, with frozen parameters"
        yield (
            trial.Way(inputs_learn=False, turned=True),
            "with inputs that need no gradient, and gradients that lie transposed",
        )
        yield trial.Way(frozen=True), "with frozen parameters, and inputs that need a gradient"

    def _run(
        self, module: Any, at: tuple[drawing.Conditions, Assignment], way: trial.Way, *, as_meant: bool
    ) -> trial.Seen:
        kernel = self.kernel_in_training if at[0].training else ""
        drawn, assignment = replace(at[0], device=self.device, kernel=kernel), at[1]
        meaning = self.meaning() if as_meant and self.relation == "repaired" else None
        return trial.run(module, lambda: self._made(assignment, drawn), self.pair.positional, drawn, meaning, way=way)

    def _made(self, assignment: Assignment, conditions: drawing.Conditions) -> drawing.Inputs:
        inspected = self.setup.inspected
        return drawing.make_inputs(self.setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

    def _conditions(self, *, training: bool, seed: int = 0) -> drawing.Conditions:
        narrow = conditions(training=training, seed=seed)
        return replace(narrow, dtype=self.dtype, default=self.default, widened=self.dtype == _WIDE)

    def _without_gradients(
        self, way: trial.Way, at: tuple[drawing.Conditions, Assignment], *, alone: bool = False
    ) -> str:
        """Describe how one call of each differs; with ``alone``, how two calls of before do."""
        before = self._run(self.pair.before, at, way, as_meant=True)
        other = self.pair.before if alone else self.pair.after
        after = self._run(other, at, way, as_meant=alone)
        otherwise: list[trial.Seen] = []
        for rounded in self._roundings():
            with rounded():
                otherwise.append(self._run(self.pair.before, at, way, as_meant=True))
        return self._apart(before, after, otherwise) or self._zeros_lost(way, at, before, after)

    def _roundings(self) -> Sequence[Callable[[], contextlib.AbstractContextManager[None]]]:
        """The contexts of further runs of before that tell how far rounding alone puts results apart."""
        return roundings.SEVERAL if self.by_chance else ()

    def _zeros_lost(
        self, way: trial.Way, at: tuple[drawing.Conditions, Assignment], before: trial.Seen, after: trial.Seen
    ) -> str:
        """The first output that is zero somewhere in before, in float32 and in float64, and not in after, in words."""
        suspects = _zero_in_first_alone(before, after)
        if not suspects:
            return ""
        drawn, assignment = at
        wide = replace(drawn, dtype=torch.float64, held=drawn.dtype, default=True)
        subject = copied(self.pair.before).to(torch.float64)
        exact = dict(self._run(subject, (wide, assignment), way, as_meant=True).outputs)
        for name, (first, second) in suspects.items():
            value = exact.get(name)
            if isinstance(value, torch.Tensor) and value.shape == first.shape:
                lost = rows.lost_zeros(first, second, value)
                if bool(lost.any()):
                    return f"{name} is 0 before and {float(second[lost].abs().max()):.3g} after"
        return ""

    def _apart(self, before: trial.Seen, after: trial.Seen, otherwise: list[trial.Seen]) -> str:
        """Describe how two executions differ beyond rounding. Where before raises, nothing is asked of after.

        ``otherwise`` holds runs of before that are rounded otherwise.
        """
        if before.error is not None or isinstance(after.error, refusals.NO_ANSWER):
            return ""
        if after.error is not None:
            return f"only after raises {in_one_line(after.error)}"
        gained = self.pair.new | self.pair.applied
        theirs = [item for item in after.effects if item[0].removeprefix("buffer ") not in gained]
        ours = [item for item in before.effects if item[0].removeprefix("buffer ") not in gained]
        runs = [dict([*seen.outputs, *seen.effects]) for seen in otherwise]
        if found := apart([*before.outputs, *ours], [*after.outputs, *theirs], runs):
            return found
        if found := _reached_otherwise(before, after, self.pair.gained | self.pair.applied, otherwise):
            return found
        return trial.handed_on(before, after, self.relation)

    def _in_a_row(self, *, alone: bool = False) -> Misuse | None:
        """Return how both differ when one copy of each is called for shapes A, B and A, and around a ``backward``."""
        after = copied(self.pair.before if alone else self.pair.after)
        rounded = self._roundings()
        modules = [copied(self.pair.before), after, *(copied(self.pair.before) for _ in rounded)]
        contexts = [contextlib.nullcontext, contextlib.nullcontext, *rounded]
        start = [construction.inventory(each) for each in modules[:2]]
        at = self._conditions(training=False), self.assignments[0]
        for place, (at, way) in enumerate(self._calls(), 1):
            seen: list[trial.Seen] = []
            for module, context in zip(modules, contexts, strict=True):
                with context():
                    seen.append(self._run(Lasting(module), at, way, as_meant=alone or module is not after))
            if seen[0].error is not None:
                return None
            if found := self._apart(seen[0], seen[1], seen[2:]):
                return f"in call {place} of one copy, {found}", *at
            if way.backward:
                for module in modules:
                    _step(module, self.pair.gained | self.pair.applied)
        if self.device != "cpu":  # what the modules hold is compared there
            return None
        ended = [construction.inventory(each) for each in modules]
        found = _left(start, ended, self.pair.gained)
        return (f"after {place} calls of one copy, {found}", *at) if found else None

    def _calls(self) -> Iterator[tuple[tuple[drawing.Conditions, Assignment], trial.Way]]:
        first = self.assignments[0]
        lengths = [each for each in self.assignments if each.sizes.get("t") != first.sizes.get("t")]
        second = (lengths or self.assignments[1:] or [first])[0]
        plain = trial.Way(backward=False)
        for place, each in enumerate((first, second, first)):
            yield (self._conditions(training=False, seed=place), each), plain
        yield (self._conditions(training=True, seed=3), first), trial.TRAINED
        yield (self._conditions(training=False, seed=4), first), _FORWARD


def _step(module: Any, gained: frozenset[str]) -> None:
    """Change the parameters that learn in place, as an optimiser does; but for those that only after uses."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name not in gained and value.requires_grad and value.is_floating_point():
                value.mul_(1 + _STEP)


def conditions(*, training: bool, seed: int = 0) -> drawing.Conditions:
    return drawing.Conditions("cpu", torch.float32, training, seed=3000 + seed)


def apart(before: Iterable[tuple[str, Any]], after: Iterable[tuple[str, Any]], otherwise: Sequence[Named] = ()) -> str:
    """The first of the named values that differs beyond rounding, in words; "" where none does.

    ``otherwise`` holds what runs of before leave that are rounded otherwise: what they show is chance.
    """
    ours, theirs = list(before), list(after)
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        return "the structure of what it leaves differs"
    with torch._C.DisableTorchFunctionSubclass():
        for (name, left), (_, right) in zip(ours, theirs, strict=True):
            if problem := _beyond_rounding(left, right, [run.get(name) for run in otherwise]):
                return f"{name} {problem}"
    return ""


def _reached_otherwise(
    before: trial.Seen, after: trial.Seen, gained: frozenset[str], otherwise: list[trial.Seen]
) -> str:
    """The first gradient, in words, that is there in one of the two only, or differs by more than rounding.

    Each is measured by the largest gradient of all: it may be a sum of terms that cancel. ``otherwise`` holds runs of
    before that are rounded otherwise.
    """
    runs = [dict(seen.gradients) for seen in otherwise]
    theirs = dict(after.gradients)
    tensors = [value for _, value in before.gradients if isinstance(value, torch.Tensor) and value.numel()]
    size = max((float(rows.whole(value)) for value in tensors), default=0.0)
    for name, left in before.gradients:
        right = theirs.get(name)
        if name.removeprefix("gradient of ") in gained:
            continue
        if (left is None) != (right is None):
            return f"{name} is there {'before' if right is None else 'after'} alone"
        if left is None or right is None or not bool(left.isfinite().all()):
            continue
        distance = float((left - right).abs().max()) if left.numel() else 0.0
        by_chance = rows.allowed_by_chance(left, [run.get(name) for run in runs])
        if not distance <= _OF_SUMS * size + by_chance:
            return f"{name} differs by up to {distance:.3g}"
    return ""


def _beyond_rounding(left: Any, right: Any, otherwise: Sequence[Any] = ()) -> str:
    """Describe how two values differ by more than rounding; where the first is NaN, there is nothing to preserve.

    ``otherwise`` holds what runs give for the first that are rounded otherwise.
    """
    problem, _ = trial.differ(left, right)
    if not problem or not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return problem
    if left.shape != right.shape or left.dtype != right.dtype or left.requires_grad != right.requires_grad:
        return problem
    if not left.is_floating_point() or bool((left.isfinite() != right.isfinite())[~left.isnan()].any()):
        return problem
    distances = (left.detach() - right.detach()).masked_fill(~left.isfinite(), 0.0).abs()
    bound = torch.maximum(_ROUNDING * rows.largest(left), _NOISE * rows.whole(left)) * _unit(left.dtype)
    return "" if bool((distances <= bound + rows.allowed_by_chance(left, otherwise)).all()) else problem


def _unit(dtype: torch.dtype) -> float:
    """One unit in the last place, relative to the value; for float64, that of float32."""
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def _zero_in_first_alone(before: trial.Seen, after: trial.Seen) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The float outputs, by name, that are zero at an element in the first run and not in the second."""
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with torch._C.DisableTorchFunctionSubclass():
        for (name, left), (_, right) in zip(before.outputs, after.outputs, strict=False):
            if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
                continue
            if left.shape == right.shape and left.is_floating_point() and bool(((left == 0) & (right != 0)).any()):
                found[name] = left, right
    return found


def _left(start: list[construction.Constructed], ended: list[construction.Constructed], gained: frozenset[str]) -> str:
    """Describe how what the calls left in both modules differs; what differed before the calls is left out.

    More than two ``ended``: the others are copies of before whose calls were rounded otherwise.
    """
    first, second = (_all_of(each) for each in start)
    odd = set(first.keys() ^ second.keys())
    odd |= {name for name in first.keys() & second.keys() if _beyond_rounding(first[name], second[name])}
    ours, theirs, *runs = (
        {name: value for name, value in _all_of(each).items() if name not in odd | gained} for each in ended
    )
    if alone := sorted(ours.keys() ^ theirs.keys()):
        return f"{alone[0]} is left by {'before' if alone[0] in ours else 'after'} alone"
    names = sorted(ours)
    return apart([(name, ours[name]) for name in names], [(name, theirs[name]) for name in names], runs)


def _all_of(found: construction.Constructed) -> dict[str, Any]:
    return {**found.parameters, **found.saved, **found.held, **found.form}
