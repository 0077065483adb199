"""Show that code for which there is no fix is wrong: a probe has a counterexample, or it raises where it is flagged.

There is nothing to compare with, so a probe has to find by itself that the property is meant; but for what is lost, a
mask or a projection, since no evidence of it is left.
So does the graph that ``torch.compile`` captures, where it ends at what is flagged.
An error counts only where the rest of the code goes on once the call that raises it is passed over, with the very same
arguments. One about shapes counts only where no arguments were found that have the shapes that it asks for.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace
from torch.overrides import TorchFunctionMode

from mha_lint.findings import BREAKS, RAISES, Verdict
from mha_lint.observation import Observation
from mha_lint.validation.child import imports, isolation, stubs
from mha_lint.validation.job import Job
from mha_lint.validation.probes import observe
from mha_lint.validation.relations.breaking import graph_ends
from mha_lint.validation.relations.holding import asking, raised_at
from mha_lint.validation.relations.shown import places_of
from mha_lint.validation.search import harness, optional, targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.setups import Meaning, Setup, as_it_is, materialise, workable
from mha_lint.validation.search.specs import Assignment, Constant, Spec, TensorSpec
from mha_lint.validation.trials import drawing, kernels, pairing, trial
from mha_lint.validation.trials.coverage import Statement, statements_at
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import Noting, Record, unreached, verdict_of

_BUDGET = 6.0  # seconds for a search
_OTHERWISE = 2.5  # seconds for the search for arguments whose shapes fit
_SETUPS, _SHAPES = 4, 4
_INSISTED = frozenset({"masked key", "causality", "every projection learns"})
_FAILURES = (RuntimeError, ValueError, IndexError, AssertionError)
_LENGTHS = ("t", "s", "H", "W")  # of sequences and images
_OF_SHAPES = ("size", "shape", "broadcast", "dimension", "expand")  # in what torch says of operands that do not fit
_ONE_OF_TWO = ("is_causal", "attn_mask")  # arguments of attention that may be what it can't take


def shown(job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> Verdict:
    """Return the verdict on the claim that ``job.before`` is wrong, by one of the job's probes."""
    tell("the import of the file")
    try:
        loaded = pairing.load_alone(job.path, job.before)
    except imports.CannotLoad as error:
        return verdict_of("not exercised", devices, reason=str(error))
    stubs.arm()
    return _Demonstration(job, loaded, devices, deadline, tell).verdict()


@contextlib.contextmanager
def passed_over(file: str, statements: frozenset[Statement], met: set[Statement]) -> Iterator[None]:
    """Let calls that fail at the flagged ``statements`` of ``file`` give their first operand; those join ``met``.

    A call of attention that takes no mask beside the causal flag is made with one of the two.
    """

    class PassedOver(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            try:
                return func(*args, **named)
            except _FAILURES:
                statement = asking(file, statements)
                found = None if statement is None else _without_it(func, args, named)
                if found is None or statement is None:
                    raise
                met.add(statement)
                return found

    with PassedOver():
        yield


def _without_it(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The result of a call that fails, without what it fails for; None where that can't be told."""
    for name in _ONE_OF_TWO:
        if name in named:
            return func(*args, **{key: value for key, value in named.items() if key != name})
    operands = [value for value in (*args, *named.values()) if isinstance(value, torch.Tensor)]
    if len(operands) < 2 or not operands[0].is_floating_point():
        return None
    return max(operands, key=lambda value: (value.is_floating_point(), value.dim(), value.numel())).clone()


class _Demonstration(Struct, dict=True):
    """The attempt to show one text wrong, on each device."""

    job: Job
    loaded: imports.Loaded
    devices: dict[str, str]
    deadline: float
    tell: Callable[[str], None]
    record: Record = field(default_factory=Record)
    met: set[Statement] = field(default_factory=set)
    words: dict[str, str] = field(default_factory=dict)  # by the way it was asked: what is no counterexample
    shown: list[Setup] = field(default_factory=list)  # those that gave a counterexample, one a device
    _fitting: dict[frozenset[str], Setup | None] = field(default_factory=dict)  # by the arguments that are given

    @cached_property
    def flagged(self) -> frozenset[Statement]:
        return statements_at(self.job.before, set(self.job.flagged))

    @property
    def raises(self) -> bool:
        return RAISES in self.job.probes

    def meaning(self) -> contextlib.AbstractContextManager[None]:
        """The context of the search: where an error is what is looked for, it must not end the call."""
        return passed_over(self.loaded.pseudo, self.flagged, self.met) if self.raises else as_it_is()

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        search = self._search(self.meaning)
        setups = search.find(self.job.symbols)[:_SETUPS]
        if not setups:
            return unreached(search, self.job, self.devices)
        level = setups[0].level
        counterexample = ""
        silent: list[str] = []
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                found = self._on(device, search, setups)
                counterexample = counterexample or found
                if not found:
                    silent.append(device)
        except TimeoutError:
            return self._ended("not exercised", level, "time ran out before it was shown wrong", counterexample)
        if not silent:
            described = "; ".join(dict.fromkeys(setup.describe() for setup in self.shown))
            return self._ended("shown wrong", self.shown[0].level, described, counterexample)
        if counterexample:
            reason = f"it was not shown wrong on {', '.join(silent)}"
            return self._ended("not exercised", level, reason, counterexample)
        said = "; ".join(f"{way}: {words}" for way, words in self.words.items()) or "no trial counted"
        reason = f"validation ran it and could not show it wrong: {said}"
        return replace(self._ended("not exercised", level, reason, ""), unshown=bool(self.words))

    def _ended(self, name: Any, level: str, reason: str, counterexample: str) -> Verdict:
        found = verdict_of(name, self.devices, level, reason, tuple(self.record.trials))
        return replace(found, counterexample=counterexample)

    def _search(self, meaning: Meaning, budget: float = _BUDGET) -> harness.Search:
        return harness.Search(
            self.loaded,
            self.flagged,
            meaning,
            self.job.hints,
            now() + budget,
            self.met,
            declared=self.job.declared,
            as_handed=True,
        )

    def _on(self, device: str, search: harness.Search, setups: list[Setup]) -> str:
        """Return the first counterexample on a device; "" where there is none."""
        others = optional.given(search, setups[0])
        using = search.using(self.job.symbols, setups[0], now() + _BUDGET)
        for setup in itertools.chain(setups, others, itertools.islice(using, 1)):
            if time.monotonic() > self.deadline:
                raise TimeoutError
            self.tell(f"running {setup.target} on {device}")
            if found := self._of(setup, device, self.meaning):
                self.shown.append(setup)
                return found
        for fitting in filter(None, [*self._fitting.values()]):
            if found := self._of(fitting, device, as_it_is):
                self.shown.append(fitting)
                return found
        return ""

    def _of(self, setup: Setup, device: str, meaning: Meaning) -> str:
        module = targets.instantiate(setup.target, setup.plan, self.loaded.module, seed=7)
        materialise(module, setup, meaning)
        trial.randomise(module, seed=11)
        signature = targets.signature_of(module)
        accepted = workable(setup, module, meaning, signature, _SHAPES)
        module.to(device)
        for count, assignment in enumerate(accepted):
            conditions = drawing.Conditions(device, torch.float32, False, seed=1000 + 17 * count)
            run = _Run(setup, module, assignment, conditions, trial.positional_only(signature))
            found = self._raised(run) if self.raises else ""
            if BREAKS in self.job.probes:
                found = found or self._broken(run)
            found = found or self._violated(run)
            if found:
                return found
        return ""

    def _raised(self, run: _Run) -> str:
        """The error that one call raises at a flagged statement, as a counterexample; "" where it raises none.

        Kernels of attention differ in what they take, and the device chooses the kernel: the plain one is tried too.
        """
        note = Noting(self.record, run.conditions, run.make().shapes)
        seen, kernel = _called(run, contextlib.nullcontext()), ""
        if seen.error is None:
            seen, kernel = _called(run, kernels.chosen(kernels.MATH)), "with attention's math kernel, "
        error = seen.error
        if error is None:
            self.words.setdefault(RAISES, f"{run.setup.describe()} raises nothing")
            note("agree", None, "it raises nothing")
            return ""
        words = f"{kernel}it raises {imports.in_one_line(error)}"
        unfit = isinstance(error, (stubs.StubTouched, isolation.Refused, MemoryError))
        if unfit or raised_at(error, self.loaded.pseudo, self.flagged) is None:
            note("skipped", None, words)
            return ""
        if _is_about_shapes(error) and (fitting := self._fitting_way(run.setup)):
            self.words[RAISES] = f"{words}, which depends on the shapes: {_told(fitting)} runs"
            note("skipped", None, self.words[RAISES])
            return ""
        note("raised", None, words)
        return note.counterexample(words)

    def _broken(self, run: _Run) -> str:
        """Say why the graph of one call ends at a flagged statement, as a counterexample; "" where it does not."""
        made = run.make()
        note = Noting(self.record, run.conditions, made.shapes)
        reason, words = graph_ends(run.module, made, run.positional, self.loaded.pseudo, self.flagged)
        if not reason:
            self.words.setdefault(BREAKS, words)
            note("agree", None, words)
            return ""
        words = f"the graph of torch.compile ends there: {reason}"
        note("raised", None, words)
        return note.counterexample(words)

    def _fitting_way(self, failing: Setup) -> Setup | None:
        """Values of the same arguments that fit, with their sizes; for the same arguments they are looked for once."""
        given = frozenset(_given(failing))
        if given not in self._fitting:
            self._fitting[given] = self._fits(given)
        return self._fitting[given]

    def _fits(self, given: frozenset[str]) -> Setup | None:
        """Values of the same arguments that let the flagged statements run, whatever their sizes are.

        That they do where as many tokens are given as there are heads, or entries, is luck: with one token more, or
        one entry more, they raise.
        """
        search = self._search(as_it_is, _OTHERWISE)
        found = search.find(self.job.symbols)
        others = optional.given(search, found[0]) if found else iter(())
        for setup in itertools.chain(found, others):
            if not given <= _given(setup):
                continue  # what is left out does not fail
            module = targets.instantiate(setup.target, setup.plan, self.loaded.module, seed=7)
            materialise(module, setup, as_it_is)
            signature = targets.signature_of(module)
            for known in workable(setup, module, as_it_is, signature, _SHAPES):
                if min(known.sizes.values(), default=2) >= 2 and self._fits_with_more(setup, module, known):
                    return replace(setup, assignments=(known, *setup.assignments))
        return None

    def _fits_with_more(self, setup: Setup, module: Any, known: Assignment) -> bool:
        """With more tokens it runs, and with more entries it does not raise at the flagged statements."""
        longer = {name: size + 1 if name in _LENGTHS else size for name, size in known.sizes.items()}
        if self._error_of(setup, module, longer) is not None:
            return False
        larger = {**known.sizes, "b": max([*known.sizes.values(), *setup.inspected.sizes.values()]) + 1}
        error = self._error_of(_with_entries(setup), module, larger)
        return error is None or raised_at(error, self.loaded.pseudo, self.flagged) is None

    def _error_of(self, setup: Setup, module: Any, sizes: dict[str, int]) -> BaseException | None:
        """What a call with these sizes raises, in eval mode and without gradients."""
        conditions = drawing.Conditions("cpu", torch.float32, False, seed=0)
        other = Assignment(sizes, "contiguous")
        run = _Run(setup, module, other, conditions, trial.positional_only(targets.signature_of(module)))
        return _called(run, contextlib.nullcontext()).error

    def _violated(self, run: _Run) -> str:
        """What the first probe that is violated says, as a counterexample; "" where none is."""
        for probe in self.job.probes:
            if probe in (RAISES, BREAKS):
                continue
            seen = self._observed(probe, run)
            note = Noting(self.record, run.conditions, run.make().shapes)
            if seen.outcome == "violated":
                words = f"it violates {probe}: {seen.words}"
                note("differ", seen.size, words)
                return note.counterexample(words)
            told = f"{seen.outcome} ({seen.words})" if seen.words else seen.outcome
            note("agree" if seen.outcome == "holds" else "skipped", None, f"{probe}: {told}")
            if probe not in self.words or seen.outcome == "holds":
                self.words[probe] = told
        return ""

    def _observed(self, probe: str, run: _Run) -> Observation:
        made = run.make().arguments
        places = places_of(run.positional, made)
        named = {places.get(name, name): value for name, value in made.items()}
        axes = {places.get(each.parameter, each.parameter): each for each in self.job.axes}
        with imports.quiet():
            insist = probe in _INSISTED
            return observe(probe, run.module, named, seed=run.conditions.seed, insist=insist, axes=axes)


class _Run(Struct, frozen=True):
    """One call of a built module: with inputs of these sizes, under these conditions."""

    setup: Setup
    module: Any
    assignment: Assignment
    conditions: drawing.Conditions
    positional: tuple[str, ...]

    def make(self) -> drawing.Inputs:
        inspected = self.setup.inspected
        return drawing.make_inputs(
            self.setup.specs, self.assignment, inspected.sizes, inspected.vocabulary, self.conditions
        )


def _given(setup: Setup) -> set[str]:
    """The names of the arguments that a call is given."""
    return {name for name, spec in setup.specs.items() if spec != Constant(None)}


def _told(setup: Setup) -> str:
    """The call and its first sizes, in words."""
    sizes = (f"{name} = {size}" for name, size in setup.assignments[0].sizes.items())
    return f"{setup.describe()} with {', '.join(sizes)}"


def _with_entries(setup: Setup) -> Setup:
    """The setup in which the first dim of activations counts entries, where it had the size of heads or tokens."""
    specs = {name: _of_entries(spec) for name, spec in setup.specs.items()}
    return replace(setup, specs=specs)


def _of_entries(spec: Spec) -> Spec:
    """A float tensor of three dims or more, the last of which is a width, with the batch in front."""
    if not isinstance(spec, TensorSpec) or spec.kind != "float" or len(spec.dims) < 3 or "b" in spec.dims:
        return spec
    has_width = isinstance(spec.dims[-1], int) or spec.dims[-1] == "d"
    return replace(spec, dims=("b", *spec.dims[1:])) if isinstance(spec.dims[0], str) and has_width else spec


def _called(run: _Run, kernel: contextlib.AbstractContextManager[None]) -> trial.Seen:
    """What one call leaves behind, in eval mode and without gradients."""
    copies = Pristine(run.module, careful=True)
    way = trial.Way(learns=False, backward=False)
    return trial.run(copies, run.make, run.positional, run.conditions, kernel, way=way)


def _is_about_shapes(error: BaseException) -> bool:
    said = str(error).lower()
    return any(word in said for word in _OF_SHAPES)
