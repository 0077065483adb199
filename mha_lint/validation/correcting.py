"""The relation *corrected*: before violates a named probe, after satisfies it, and where both must agree they do.

A probe is asked to insist, since it is the fix that says what must hold. Where after violates it all the same, the
probe is asked once more whether the property is one that the code means to have: if it is, after is refuted; if it is
not, the probe says nothing about this code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from mha_lint.findings import Verdict, VerdictName
from mha_lint.validation import also, dropouts, harness, imports, isolation, rounding, stubs, targets, trial
from mha_lint.validation.coverage import watch
from mha_lint.validation.pairing import Pair, Refuted, Sources, build_pair, ran
from mha_lint.validation.pristine import Pristine
from mha_lint.validation.probes import Observation, observe
from mha_lint.validation.record import DTYPES, Noting, Record, shortfall, unreached, verdict_of
from mha_lint.validation.setups import Setup, depends_on_inputs, materialise, unmoved_rows, workable
from mha_lint.validation.specs import Assignment, TensorSpec

_SHAPES = 6  # input shapes a configuration is run with, where the module takes that many
_SETUPS = 4
_RATE = 0.25  # of every dropout, where dropout is what is wrong
_ELSEWHERE = 3.0  # seconds for other settings, where the first ones show nothing wrong
_OTHERS = 6
_TOKENS = ("t", "s", "H", "W")  # the symbols of dims that count tokens


@dataclass(slots=True)
class Shown:
    """What the probes have said, each under its name: where before was shown wrong and after right, by device."""

    devices: dict[str, set[str]] = field(default_factory=dict)
    void: set[str] = field(default_factory=set)  # probes of properties that the code does not mean to have
    words: dict[str, str] = field(default_factory=dict)  # the latest of before, by probe
    counterexample: str = ""
    probe: str = ""  # of the counterexample
    agreed: dict[str, int] = field(default_factory=dict)  # trials in the regime where both must agree, by device

    def on(self, device: str) -> bool:
        return any(device in self.devices.get(probe, ()) for probe in self.devices if probe not in self.void)


@dataclass(slots=True)
class Reached:
    """Names of what a gradient arrived at, over the trials of one setup, device, dtype and mode."""

    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)


class Correction:
    """The examination of one job of this relation."""

    def __init__(self, sources: Sources, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> None:
        self.sources = sources
        self.job = sources.job
        self.devices = devices
        self.deadline = deadline
        self.tell = tell
        self.record = Record()
        self.shown = Shown()
        self.level = ""

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        wanted = (self.sources.changed_before | self.sources.flagged) - self.sources.ran_before
        budget = min(self.deadline, time.monotonic() + min(10.0, 0.4 * (self.deadline - time.monotonic())))
        search = harness.Search(
            self.sources.before, wanted, _as_it_is, self.job.hints, budget, declared=self.job.declared
        )
        setups = search.find(self.job.symbols)[:_SETUPS]
        if not setups:
            return unreached(search, self.job, self.devices)
        self.level = setups[0].level
        described = [setup.describe() for setup in setups]
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                self._on(device, setups)
                if not self.shown.on(device):
                    self._elsewhere(device, search, setups[0])
            reason = self._lacking()
            for kind in self.job.also if not reason else ():
                described.append(self._also(kind, setups[0]))
        except Refuted as error:
            return self._finish("refuted", str(error))
        except TimeoutError:
            return self._finish("not exercised", f"time ran out after {len(self.record.trials)} trials")
        if reason:
            return self._finish("not exercised", reason)
        return self._finish("validated", "; ".join(described))

    def _finish(self, verdict: VerdictName, reason: str) -> Verdict:
        found = verdict_of(verdict, self.devices, self.level, reason, tuple(self.record.trials))
        return replace(found, counterexample=self.shown.counterexample, unshown=self._is_unshown(found))

    def _is_unshown(self, found: Verdict) -> bool:
        """Whether before ran and nothing was found to be wrong with it: time that ran out shows nothing either way."""
        idle = found.verdict != "not exercised" or found.reason.startswith("time ran out")
        return not idle and bool(self.shown.words) and not self.shown.counterexample

    def _lacking(self) -> str:
        """Why the trials do not suffice; "" where they do."""
        if self.shown.words and not self.shown.counterexample:
            seen = "; ".join(f"{probe}: {words}" for probe, words in self.shown.words.items())
            return f"validation ran it and could not show it wrong: {seen}"
        reason = shortfall(self.record, self.sources, self.devices)
        if reason:
            return reason
        missing = sorted(item.first for item in self.sources.flagged - self.record.met)
        if missing:
            return f"flagged lines that never ran: {', '.join(map(str, missing))}"
        alike = [probe for probe, where in self.shown.devices.items() if where >= set(self.devices)]
        if not [probe for probe in alike if probe not in self.shown.void]:
            silent = [device for device in sorted(self.devices) if not self.shown.on(device)]
            return f"before was not shown to be wrong on {', '.join(silent) or 'every device by the same probe'}"
        unmet = [device for device in sorted(self.devices) if not self.shown.agreed.get(device)]
        if self.job.agree and unmet:
            return f"the regime in which both must agree ({self.job.agree}) never ran on {', '.join(unmet)}"
        return ""

    def _on(self, device: str, setups: list[Setup]) -> None:
        for setup in setups:
            self._try_setup(setup, device)
            if self.job.agree == "no dropout":
                thing = targets.lookup(self.sources.before.module, setup.target.name)
                self._try_setup(dropouts.at_rate(setup, thing, 0.0), device, rate=0.0)

    def _elsewhere(self, device: str, search: harness.Search, setup: Setup) -> None:
        """Other flags and sizes, for what is wrong under some settings alone."""
        until = min(self.deadline, time.monotonic() + _ELSEWHERE)
        others = [*search.flipped(setup, until), *search.elsewhere(setup, until)]
        for other in others[:_OTHERS]:
            if self.shown.on(device) or time.monotonic() > until + _ELSEWHERE:
                return
            self._try_setup(other, device)

    def _try_setup(self, setup: Setup, device: str, rate: float | None = None) -> None:
        """All trials of one setup. With ``rate`` 0, every dropout is off, and both must agree."""
        self.tell(f"before: building {setup.target}")
        if rate is None and ("eval determinism" in self.job.probes or self.job.agree == "train"):
            active = self._dropping(setup)
            setup, rate = active or setup, _RATE if active else None
        pair = build_pair(self.sources, setup, _as_it_is, self.tell)
        if rate is not None:
            for module in (pair.before, pair.after):
                dropouts.set_rate(module, rate)
        signature = targets.signature_of(pair.before)
        self.tell("before: choosing input shapes")
        assignments = workable(setup, pair.before, _as_it_is, signature, _SHAPES)
        if self.job.agree == "one token":
            assignments += self._of_one_token(setup, pair, assignments)
        for dtype in DTYPES[device]:
            try:
                pair.before.to(device=device, dtype=dtype)
                pair.after.to(device=device, dtype=dtype)
            except RuntimeError as error:
                note = Noting(self.record, trial.Conditions(device, dtype, False, 0), ())
                note("skipped", None, f"moving the module raised {imports.in_one_line(error)}")
                continue
            copies = Pristine(pair.before, careful=True), Pristine(pair.after, careful=True)
            for training in (True, False):
                reached = Reached()
                for count, assignment in enumerate(assignments):
                    if time.monotonic() > self.deadline:
                        raise TimeoutError
                    conditions = trial.Conditions(device, dtype, training, seed=1000 + 17 * count)
                    self._trial(setup, pair, copies, assignment, conditions, reached, count == 0, rate == 0.0)
                if lost := sorted(reached.before - reached.after):
                    raise Refuted(f"no {lost[0]} any more ({dtype} on {device})".replace("torch.", ""))

    def _dropping(self, setup: Setup) -> Setup | None:
        """The setup with every dropout at work; None where the class does not take that."""
        module = self.sources.before.module
        active = dropouts.at_rate(setup, targets.lookup(module, setup.target.name), _RATE)
        try:
            built = targets.instantiate(setup.target, active.plan, module, seed=7)
            materialise(built, active, _as_it_is)
            dropouts.set_rate(built, _RATE)
        except (Exception, stubs.StubTouched):  # whatever a constructor raises
            return None
        return active if workable(active, built, _as_it_is, targets.signature_of(built), 1) else None

    def _of_one_token(self, setup: Setup, pair: Pair, known: list[Assignment]) -> list[Assignment]:
        """Assignments in which every dim that counts tokens has length 1, beyond those that are ``known``."""
        first = setup.assignments[0]
        ones = {**first.sizes, **dict.fromkeys(_TOKENS, 1)}
        wanted = tuple(Assignment({**ones, "b": size}, "contiguous") for size in (1, 3, 2))
        signature = targets.signature_of(pair.before)
        accepted = workable(replace(setup, assignments=wanted), pair.before, _as_it_is, signature, len(wanted))
        return [each for each in accepted if _is_one_token(setup, each) and each not in known]

    def _must_agree(self, setup: Setup, assignment: Assignment, conditions: trial.Conditions, silent: bool) -> bool:
        match self.job.agree:
            case "train":
                return conditions.training
            case "one token":
                return _is_one_token(setup, assignment)
            case "no dropout":
                return silent
        return False

    def _trial(
        self,
        setup: Setup,
        pair: Pair,
        copies: tuple[Pristine, Pristine],
        assignment: Assignment,
        conditions: trial.Conditions,
        reached: Reached,
        first: bool,
        silent: bool,
    ) -> None:
        sources, inspected = self.sources, setup.inspected
        positional = trial.positional_only(targets.signature_of(pair.before))

        def make() -> trial.Inputs:
            return trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

        note = Noting(self.record, conditions, make().shapes or _shapes_of_parameters(pair.before))
        where = f"{setup.target} on {conditions.device}"
        observed: list[tuple[Observation, Observation]] = []
        with watch(sources.before.pseudo, sources.after.pseudo) as rows:
            self.tell(f"before: {where}")
            before = trial.run(copies[0], make, positional, conditions)
            self.tell(f"after: {where}")
            after = trial.run(copies[1], make, positional, conditions)
            works = before.error is None and after.error is None
            if works and not conditions.training and not silent:
                observed = [self._observed(probe, copies, make, positional, conditions) for probe in self.job.probes]
        if before.error is not None and after.error is not None:
            if conditions.dtype == torch.float64 and not conditions.default:
                # Perhaps it makes tensors of the default dtype.
                wide = replace(conditions, default=True)
                self._trial(setup, pair, copies, assignment, wide, reached, first, silent)
                return
            note.errors(before.error, after.error)
            return
        if after.error is not None:
            note.errors(None, after.error)
            return
        if before.error is not None:
            note("skipped", None, f"before raises {imports.in_one_line(before.error)}")
            return
        difference = trial.compare(before, after, pair.new)
        self._check_form(before, after, note)
        if (
            first
            and trial.compare(before, trial.run(pair.before, make, positional, conditions), frozenset()).difference
        ):
            note("skipped", None, "before is not reproducible: two runs with the same seed differ")
            return
        if not trial.says_something(after, "input " if setup.specs else "") and not depends_on_inputs(
            pair.after, setup, assignment, conditions, positional, _as_it_is
        ):
            if trial.says_something(before, "input " if setup.specs else ""):
                self._refute(note, difference.largest, "the outputs of after do not depend on the inputs")
            note("skipped", None, "the outputs are not finite, or do not depend on the inputs")
            return
        if conditions.dtype == torch.float32 and conditions.device == "cpu" and not conditions.training:
            rows_of = [
                unmoved_rows(module, setup, assignment, conditions, positional, _as_it_is)
                for module in (pair.before, pair.after)
            ]
            if lost := sorted(rows_of[1] - rows_of[0]):
                detail = f"in after alone, the output at token {lost[0][1]} does not depend on the inputs"
                self._refute(note, difference.largest, detail)
        ran_before = pair.ran_before | ran(sources.changed_before, rows, sources.before)
        ran_after = pair.ran_after | ran(sources.changed_after, rows, sources.after)
        flagged = (pair.ran_before | ran(sources.flagged, rows, sources.before)) & sources.flagged
        reached_before = (ran_before or not sources.changed_before) and (flagged or not sources.flagged)
        if not reached_before or (sources.changed_after and not ran_after):
            note("not covered", difference.largest, "the changed lines did not run")
            return
        details: list[str] = []
        if self._must_agree(setup, assignment, conditions, silent):
            details.append(self._agreement(setup, pair, assignment, conditions, before, after, difference, note))
        details += [self._judge(each, copies, make, positional, note) for each in observed]
        reached.before |= _arrived(before)
        reached.after |= _arrived(after)
        self.record.ran_before |= ran_before
        self.record.ran_after |= ran_after
        self.record.met |= flagged
        default = "with float64 as the default dtype" if conditions.default else ""
        note("agree", difference.largest, "; ".join(filter(None, [*details, default])))

    def _observed(
        self,
        probe: str,
        copies: tuple[Pristine, Pristine],
        make: Callable[[], trial.Inputs],
        positional: tuple[str, ...],
        conditions: trial.Conditions,
        insist: bool = True,
    ) -> tuple[Observation, Observation]:
        """What the probe says of before and of after."""
        seen: list[Observation] = []
        for text, copy in zip(("before", "after"), copies, strict=True):
            self.tell(f"{text}: probing {probe} on {conditions.device}")
            subject = _named(copy.lend(training=False), positional)
            inputs = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, make().arguments)
            with _default_dtype(conditions), imports.quiet():
                seen.append(observe(probe, subject, inputs, seed=conditions.seed, insist=insist))
        return seen[0], seen[1]

    def _judge(
        self,
        observed: tuple[Observation, Observation],
        copies: tuple[Pristine, Pristine],
        make: Callable[[], trial.Inputs],
        positional: tuple[str, ...],
        note: Noting,
    ) -> str:
        """Keep what one probe has shown, and say it in words. Raise Refuted where after still violates it."""
        before, after = observed
        probe = before.probe
        said = f"{before.outcome} ({before.words})" if before.words else before.outcome
        self.shown.words[probe] = said
        if after.outcome == "violated":
            meant = self._observed(probe, copies, make, positional, note.conditions, insist=False)
            if any(each.outcome == "violated" for each in meant):
                if before.outcome == "violated":
                    self._show(before, note)
                still = "still violates" if before.outcome == "violated" else "violates"
                self._refute(note, None, f"after {still} {probe}: {after.words}")
            self.shown.void.add(probe)
            self.shown.words[probe] = f"neither text has it, nor means to ({meant[1].words})"
            return ""
        if before.outcome == "violated" and after.outcome == "holds":
            self._show(before, note)
            self.shown.devices.setdefault(probe, set()).add(note.conditions.device)
            return f"before violates {probe}: {before.words}"
        return f"{probe}: {said}" if before.outcome == "violated" else f"{probe} {before.outcome}"

    def _show(self, seen: Observation, note: Noting) -> None:
        if not self.shown.counterexample:
            self.shown.counterexample = note.counterexample(seen.words)

    def _refute(self, note: Noting, largest: float | None, detail: str) -> None:
        note("differ", largest, detail)
        raise Refuted(note.counterexample(detail))

    def _check_form(self, before: trial.Seen, after: trial.Seen, note: Noting) -> None:
        """Raise Refuted where outputs come in another structure, shape or dtype, or are not finite in after alone."""
        if [path for path, _ in before.outputs] != [path for path, _ in after.outputs]:
            self._refute(note, None, "the structure of the outputs differs")
        for (path, left), (_, right) in zip(before.outputs, after.outputs, strict=True):
            if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
                for name in ("shape", "dtype", "device", "requires_grad"):
                    if getattr(left, name) != getattr(right, name):
                        was = f"{path} has {name} {getattr(left, name)} before and {getattr(right, name)} after"
                        self._refute(note, None, was)
                if bool(torch.isfinite(left).all()) and not bool(torch.isfinite(right).all()):
                    self._refute(note, None, f"{path} is not finite in after alone")
            elif type(left) is not type(right):
                self._refute(note, None, f"{path} is a {type(left).__name__} before and {type(right).__name__} after")

    def _agreement(
        self,
        setup: Setup,
        pair: Pair,
        assignment: Assignment,
        conditions: trial.Conditions,
        before: trial.Seen,
        after: trial.Seen,
        difference: trial.Comparison,
        note: Noting,
    ) -> str:
        """In words, how both agree where they must. Raise Refuted where they do not."""
        rounded = ""
        if difference.difference:
            rounded = rounding.excuse(setup, pair.before, assignment, conditions, before, after)
            if not rounded:
                detail = f"where both must agree ({self.job.agree}), {difference.difference}"
                self._refute(note, difference.largest, detail)
        self.record.rounded |= bool(rounded)
        self.shown.agreed[conditions.device] = self.shown.agreed.get(conditions.device, 0) + 1
        return f"both agree ({self.job.agree}{'; ' if rounded else ''}{rounded})"

    def _also(self, kind: str, setup: Setup) -> str:
        """One run of what must go on working, on the CPU in float32 and eval mode; in words, whether it does."""
        pair = build_pair(self.sources, setup, _as_it_is, self.tell)
        conditions = trial.Conditions("cpu", torch.float32, training=False, seed=1000)
        positional = trial.positional_only(targets.signature_of(pair.before))
        inspected = setup.inspected
        works: list[bool] = []
        why = ""
        for text, module in (("before", pair.before), ("after", pair.after)):
            inputs = trial.make_inputs(
                setup.specs, setup.assignments[0], inspected.sizes, inspected.vocabulary, conditions
            )
            self.tell(f"{text}: torch.{kind}")
            _, why = also.run(kind, module, inputs, positional)
            works.append(not why)
        if works == [True, False]:
            raise Refuted(f"torch.{kind}: only after raises {why}")
        return f"torch.{kind} works as before" if works[0] else f"torch.{kind} did not work before"


def _as_it_is() -> contextlib.AbstractContextManager[None]:
    """The meaning of code that computes the wrong thing: none but its own."""
    return contextlib.nullcontext()


def _is_one_token(setup: Setup, assignment: Assignment) -> bool:
    dims = [str(dim) for spec in setup.specs.values() if isinstance(spec, TensorSpec) for dim in spec.dims]
    used = [symbol for symbol in _TOKENS if any(symbol in dim.split("*") for dim in dims)]
    return bool(used) and all(assignment.sizes.get(symbol) == 1 for symbol in used)


def _arrived(seen: trial.Seen) -> set[str]:
    """The names of what a finite gradient other than zero arrived at."""
    return {
        name
        for name, value in seen.gradients
        if isinstance(value, torch.Tensor) and bool((torch.isfinite(value) & (value != 0)).any())
    }


def _shapes_of_parameters(module: Any) -> tuple[str, ...]:
    return tuple(f"{name}: {tuple(value.shape)}" for name, value in module.named_parameters())


class _Named(torch.nn.Module):
    """A module whose positional parameters take names as well."""

    def __init__(self, inner: torch.nn.Module, positional: tuple[str, ...]) -> None:
        super().__init__()
        self.inner = inner
        self.positional = positional

    def forward(self, **arguments: Any) -> Any:
        return trial.call(self.inner, trial.Inputs(arguments), self.positional)


def _named(module: Any, positional: tuple[str, ...]) -> Any:
    return _Named(module, positional).eval() if positional else module


@contextlib.contextmanager
def _default_dtype(conditions: trial.Conditions) -> Iterator[None]:
    usual = torch.get_default_dtype()
    try:
        if conditions.default:
            torch.set_default_dtype(conditions.dtype)
        yield
    finally:
        torch.set_default_dtype(usual)
