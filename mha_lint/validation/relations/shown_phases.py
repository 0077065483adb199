"""Show that before takes cosines and sines of wrong angles in half precision at distant positions, and after does not.

Both are held against the cosines and sines of before that float64 gives, from the numbers that it casts. Half precision
is tried on every device, so that none is needed that has kernels of its own for it.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.validation.child import imports
from mha_lint.validation.relations.phases import HALVES, Turn, Turns, as_meant, distance, noted
from mha_lint.validation.search import targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.plan import ConfigClass, Plan
from mha_lint.validation.search.setups import Meaning, Setup, materialise
from mha_lint.validation.search.specs import Assignment, SizeSpec, TensorSpec
from mha_lint.validation.search.vocabulary import role_of
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.pairing import Sources
from mha_lint.validation.trials.record import Noting, Record

_POSITIONS = (4096, 1024, 512)  # as many as the code takes, the most first
_FACTORS = (16, 64)  # by which an image is enlarged in each direction
_LENGTHS = (("t",), ("t", "s"), ("H",), ("W",))  # symbols of sizes that count positions
_WRONG, _RIGHT = 16, 4  # units in the last place of 1: before is off by as many at least, after by as many at most
_BUDGET = 8.0  # seconds for the runs of one setup


class ShownPhases(Struct):
    """Record on which devices before was shown wrong, and after right, and the first counterexample."""

    sources: Sources
    record: Record
    counterexample: str = ""
    words: str = ""  # what was seen where nothing could be shown
    has_run: bool = False  # cosines or sines of angles that were cast were seen in half precision
    devices: set[str] = field(default_factory=set)

    def look(self, setup: Setup, device: str) -> None:
        """Run both texts in half precision at distant positions, unless this device has shown it. May raise Refuted."""
        if device in self.devices:
            return
        until = now() + _BUDGET
        thing = targets.lookup(self.sources.before.module, setup.target.name)
        calls = ((far, False) for far in _further(setup, thing))
        for far, is_built_alone in itertools.chain(calls, _larger(setup, thing)):
            for dtype in HALVES:
                if now() > until:
                    return
                conditions = drawing.Conditions(device, dtype, False, seed=1000)
                if self._shows(_Run(far, conditions, self.sources, is_built_alone)):
                    self.devices.add(device)
                    self.record.met |= self.sources.flagged
                    return

    def shows_nothing(self) -> bool:
        """Tell whether angles were computed in half precision, and none were wrong."""
        return self.has_run and not self.counterexample

    def lacking(self, devices: Mapping[str, str]) -> str:
        """In words, why the claim is not shown on some of the devices; "" where it is on all."""
        silent = sorted(set(devices) - self.devices)
        if not silent:
            return ""
        where = f"on {', '.join(silent)}, " if self.devices else ""
        words = self.words or "no cosines or sines of what is cast there were taken in half precision"
        return f"{where}half precision was not seen to spoil the angles: {words}"

    def _shows(self, run: _Run) -> bool:
        """Tell whether the cosines of before are wrong under the conditions of this run, and those of after right."""
        conditions = run.conditions
        before = run.before()
        if before.error is not None and not before.turns.seen:
            self.words = self.words or f"before raises {imports.in_one_line(before.error)}"
            return False
        spoilt = [turn for turn in before.turns.seen if turn.exact is not None]
        if not spoilt:
            return False
        self.has_run = True
        worst = max(spoilt, key=_error)
        if _error(worst) < _WRONG * torch.finfo(conditions.dtype).eps:
            told = f"{_told(worst)} ({', '.join(run.shapes())}; {conditions.name})"
            self.words = told if not self.words or self.words.startswith("before") else self.words
            return False
        after = run.after()
        note = Noting(self.record, conditions, run.shapes())
        if after.error is not None and before.error is None:
            note.errors(None, after.error)
            return False
        left = _left(before.turns, after.turns)
        if left is None:
            self.words = "the rewrite takes cosines and sines in another order"
            return False
        words = f"{_told(worst)}, since the angles are off by up to {worst.off:.3g}"
        if before.error is None and (apart := trial.compare(run.meant(), after.seen, frozenset())).difference:
            note.refute(f"{words}; with the angles that are meant, {apart.difference}", apart.largest)
        if left > _RIGHT * torch.finfo(conditions.dtype).eps:
            if run.meant_is_off() < left:
                note.refute(f"{words}; after is still off by up to {left:.3g}", left)
            self.words = f"{words}, but float32 does not hold them either: after is off by up to {left:.3g}"
            return False
        note("agree", left, f"before {words}; after is off by up to {left:.3g}")
        self.counterexample = self.counterexample or note.counterexample(words)
        return True


def _error(turn: Turn) -> float:
    return 0.0 if turn.exact is None else distance(turn.given, turn.exact)


def _told(turn: Turn) -> str:
    return f"the cosines or sines of line {turn.row}, {tuple(turn.given.shape)}, are off by up to {_error(turn):.3g}"


def _left(before: Turns, after: Turns) -> float | None:
    """Return how far after is from what before means, in the types of before; None where they cannot be compared."""
    if len(before.seen) != len(after.seen):
        return None
    largest = 0.0
    for ours, theirs in zip(before.seen, after.seen, strict=True):
        if ours.given.shape != theirs.given.shape:
            return None
        if ours.exact is not None:
            largest = max(largest, distance(theirs.given.to(ours.given.dtype), ours.exact))
    return largest


def _further(setup: Setup, thing: Any) -> Iterator[Setup]:
    """The setup with more positions than the trials have: in its inputs, in its constructor, or in both."""
    used = _symbols(setup)
    first = setup.assignments[0]
    for count in _POSITIONS:
        longer = _lengthened(setup.plan, thing, count)
        for symbols in _LENGTHS:
            if not used & set(symbols[-1:]) and symbols != ("t",):
                continue
            sizes = {**first.sizes, "b": 1, **dict.fromkeys(symbols, count)}
            far = replace(setup, assignments=(Assignment(sizes, "contiguous"),))
            if longer != setup.plan:
                yield replace(far, plan=longer)
            yield far


def _larger(setup: Setup, thing: Any) -> Iterator[tuple[Setup, bool]]:
    """The setup with an image of more rows and columns, to be built alone: to call it would take too long.

    It serves tables that a constructor computes.
    """
    plan = setup.plan
    if not isinstance(thing, type) or plan.written or plan.factory:
        return
    parameters = inspect.signature(thing).parameters
    defaults = {name: each.default for name, each in parameters.items() if isinstance(each.default, (int, tuple))}
    for factor in _FACTORS:
        grown = _grown({**defaults, **plan.arguments}, factor)
        if grown:
            yield replace(setup, plan=replace(plan, arguments={**plan.arguments, **grown})), True


def _grown(arguments: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """The arguments that are sides of an image, so many times as large."""
    grown: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, ConfigClass) and (parts := _grown(value.arguments, factor)):
            grown[name] = replace(value, arguments={**value.arguments, **parts})
        elif role_of(name) != "space":
            continue
        elif type(value) is int:
            grown[name] = factor * value
        elif isinstance(value, tuple) and all(type(side) is int for side in value):
            grown[name] = tuple(factor * side for side in value)
    return grown


def _symbols(setup: Setup) -> set[str]:
    """The symbols of sizes that the inputs have."""
    dims = [dim for spec in setup.specs.values() if isinstance(spec, (TensorSpec, SizeSpec)) for dim in spec.dims]
    texts = [dim for dim in dims if isinstance(dim, str)]
    return {name for text in texts for name in ("t", "s", "H", "W") if name in text}


def _lengthened(plan: Plan, thing: Any, count: int) -> Plan:
    """The plan with the largest number of positions set to ``count``, in the configuration and by default too."""
    defaults: dict[str, Any] = {}
    if isinstance(thing, type) and not plan.written and not plan.factory:
        for name, parameter in inspect.signature(thing).parameters.items():
            if type(parameter.default) is int and role_of(name) == "length" and parameter.default < count:
                defaults[name] = parameter.default
    return replace(plan, arguments=_longer({**defaults, **plan.arguments}, count))


def _longer(arguments: Mapping[str, Any], count: int) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in arguments.items():
        changed[name] = value
        if isinstance(value, ConfigClass):
            changed[name] = replace(value, arguments=_longer(value.arguments, count))
        elif type(value) is int and role_of(name) == "length":
            changed[name] = max(value, count)
    return changed


class _Taken(Struct, frozen=True):
    """Keep what one text left that was built and called, and the cosines and sines that it took."""

    turns: Turns
    seen: trial.Seen

    @property
    def error(self) -> BaseException | None:
        return self.seen.error


class _Run(Struct, frozen=True):
    """One way to build and to call both texts in half precision."""

    setup: Setup
    conditions: drawing.Conditions
    sources: Sources
    is_built_alone: bool = False

    def before(self) -> _Taken:
        at, turns = self.sources, Turns()
        return _Taken(turns, self._called(at.before, lambda: noted(at.before.pseudo, at.flagged, turns)))

    def after(self) -> _Taken:
        at, turns = self.sources, Turns()
        return _Taken(turns, self._called(at.after, lambda: noted(at.after.pseudo, frozenset(), turns)))

    def meant(self) -> trial.Seen:
        """Before, as it means."""
        at = self.sources
        return self._called(at.before, lambda: as_meant(at.before.pseudo, at.flagged, set()))

    def meant_is_off(self) -> float:
        """The largest error of the cosines and sines that float32 gives for what before means."""
        at, turns = self.sources, Turns()
        self._called(at.before, lambda: noted(at.before.pseudo, at.flagged, turns, torch.float32))
        before = self.before().turns
        own = [replace(turn, given=turn.exact) for turn in turns.seen if turn.exact is not None]
        exact = [turn for turn in before.seen if turn.exact is not None]
        return _left(Turns(exact), Turns(own)) or 0.0

    def shapes(self) -> tuple[str, ...]:
        if self.is_built_alone:
            return (f"{self.setup.target}({self.setup.plan.describe()}) as it is built",)
        return self._inputs().shapes

    def _inputs(self) -> drawing.Inputs:
        setup, inspected = self.setup, self.setup.inspected
        sizes, vocabulary = inspected.sizes, inspected.vocabulary
        return drawing.make_inputs(setup.specs, setup.assignments[0], sizes, vocabulary, self.conditions)

    def _called(self, text: imports.Loaded, meaning: Meaning) -> trial.Seen:
        """Return what building and calling a text leaves; its error, where one of both raises."""
        try:
            with meaning():
                module = targets.instantiate(self.setup.target, self.setup.plan, text.module, seed=7)
            if self.is_built_alone:
                return trial.Seen()
            materialise(module, self.setup, meaning)
            module.to(device=self.conditions.device, dtype=self.conditions.dtype)
            positional = trial.positional_only(targets.signature_of(module))
        except Exception as error:
            return trial.Seen(error=error)
        way = trial.Way(learns=False, backward=False)
        return trial.run(module, self._inputs, positional, self.conditions, meaning(), way=way)
