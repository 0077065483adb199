"""The relation *corrected*: before violates a named probe, after satisfies it, and where both must agree they do."""

from __future__ import annotations

import contextlib
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch

from mha_lint.findings import Verdict, VerdictName
from mha_lint.validation.child import imports, isolation, stubs
from mha_lint.validation.relations import rounding
from mha_lint.validation.relations.oracles import Oracle
from mha_lint.validation.relations.showing import Case, Shown, observed
from mha_lint.validation.search import harness, targets
from mha_lint.validation.search.added import reaching_added
from mha_lint.validation.search.setups import Setup, depends_on_inputs, materialise, unmoved_rows, workable
from mha_lint.validation.search.specs import Assignment, TensorSpec
from mha_lint.validation.trials import also, dropouts, trial
from mha_lint.validation.trials.coverage import watch
from mha_lint.validation.trials.pairing import Pair, Refuted, Sources, build_pair, ran
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import DTYPES, Noting, Record, shortfall, unreached, verdict_of

_SHAPES = 6  # input shapes a configuration is run with, where the module takes that many
_SETUPS = 4
_RATE = 0.25  # of every dropout, where dropout is what is wrong
_OTHERS, _ELSEWHERE = 6, 3.0  # other settings, and the seconds to find them, where the first show nothing wrong
_HEADS = re.compile(r"^(?:n|num)?_?(?:attention_|attn_)?heads?$")  # the argument that counts them
_TOKENS = ("t", "s", "H", "W")  # the symbols of dims that count tokens


@dataclass(slots=True)
class _Arrived:
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
        self.oracle = Oracle(sources)
        self.misread = ""  # the first trial in which after is none of what before may mean
        self.agreed: set[str] = set()  # devices that saw the regime in which both must agree
        self.level = ""

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        wanted = self.sources.wanted
        budget = min(self.deadline, time.monotonic() + min(10.0, 0.4 * (self.deadline - time.monotonic())))
        search = harness.Search(
            self.sources.before, wanted, _as_it_is, self.job.hints, budget, declared=self.job.declared, as_handed=True
        )
        setups = search.find(self.job.symbols)[:_SETUPS]
        missing = wanted.difference(*(setup.covered for setup in setups))
        setups += [setup for setup in search.trained if setup.covered & missing][:1]
        if not setups:
            return unreached(search, self.job, self.devices)
        self.level = setups[0].level
        described = [setup.describe() for setup in setups]
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                for setup in setups:
                    self._try_setup(setup, device)
                if not self.shown.on((device,)):
                    self._elsewhere(device, search, setups[0])
            missing = self.sources.changed_after - self.record.ran_after
            for setup in reaching_added(self.sources, missing, search, self.deadline):
                self._try_setup(setup, "cpu")
            reason = self._lacking()
            for kind in self.job.also if not reason else ():
                described.append(self._also(kind, setups[0]))
        except Refuted as error:
            return self._finish("refuted", str(error))
        except TimeoutError:  # what was not seen by then may still be there
            return self._finish("not exercised", f"time ran out after {len(self.record.trials)} trials")
        if not reason:
            return self._finish("validated", "; ".join(filter(None, [*described, self.oracle.shortcoming()])))
        unshown = self._shows_nothing()
        return replace(self._finish("not exercised", reason), unshown=unshown)

    def _finish(self, verdict: VerdictName, reason: str) -> Verdict:
        found = verdict_of(verdict, self.devices, self.level, reason, tuple(self.record.trials))
        return replace(found, counterexample=self.shown.counterexample)

    def _lacking(self) -> str:
        """Why the trials do not suffice; "" where they do."""
        if self._shows_nothing():
            return f"validation ran it and could not show it wrong: {self.shown.in_words()}"
        if reason := shortfall(self.record, self.sources, self.devices):
            return reason
        if missing := sorted(item.first for item in self.sources.flagged - self.record.met):
            return f"flagged lines that never ran: {', '.join(map(str, missing))}"
        if not self.shown.on(self.devices):
            silent = [device for device in sorted(self.devices) if not self.shown.on((device,))]
            return f"before was not shown to be wrong on {', '.join(silent) or 'all devices by the same probe'}"
        if self.job.agree and (unmet := sorted(set(self.devices) - self.agreed)):
            return f"the regime in which both must agree ({self.job.agree}) never ran on {', '.join(unmet)}"
        return ""

    def _shows_nothing(self) -> bool:
        """Probes were asked of it, and none found anything wrong."""
        return bool(self.shown.words) and not self.shown.counterexample

    def _elsewhere(self, device: str, search: harness.Search, setup: Setup) -> None:
        """Other flags and sizes, for what is wrong under some settings alone."""
        until = min(self.deadline, time.monotonic() + _ELSEWHERE)
        for other in [*search.flipped(setup, until), *search.elsewhere(setup, until)][:_OTHERS]:
            if self.shown.on((device,)):
                return
            self._try_setup(other, device)

    def _try_setup(self, setup: Setup, device: str) -> None:
        self.tell(f"before: building {setup.target}")
        if "eval determinism" in self.job.probes or self.job.agree == "train":
            active = self._dropping(setup)
            self._try_at(active or setup, device, _RATE if active else None)
        else:
            self._try_at(setup, device, None)
        if self.job.agree == "no dropout":
            thing = targets.lookup(self.sources.before.module, setup.target.name)
            self._try_at(dropouts.at_rate(setup, thing, 0.0), device, 0.0, "no dropout")
        if self.job.agree == "one token" and device not in self.agreed and (single := self._of_one_head(setup)):
            self._try_at(single, device, None, "one token")
        if self.misread:
            raise Refuted(self.misread)

    def _dropping(self, setup: Setup) -> Setup | None:
        """The setup with every dropout at work; None where the class does not take that."""
        module = self.sources.before.module
        active = dropouts.at_rate(setup, targets.lookup(module, setup.target.name), _RATE)
        try:
            built = targets.instantiate(setup.target, active.plan, module, seed=7)
            materialise(built, active, _as_it_is)
            dropouts.set_rate(built, _RATE, active.plan)
        except (Exception, stubs.StubTouched):  # whatever a constructor raises
            return None
        return active if workable(active, built, _as_it_is, targets.signature_of(built), 1) else None

    def _of_one_head(self, setup: Setup) -> Setup | None:
        """The setup with a single head, where heads and tokens have no order: for what takes so many tokens alone."""
        plan = setup.plan
        known = _defaults(targets.lookup(self.sources.before.module, setup.target.name)) | dict(plan.arguments)
        heads = [n for n, v in known.items() if _HEADS.search(n) and isinstance(v, int) and v > 1]
        for name in heads:
            plan = plan.with_argument(name, 1)
        single = replace(setup, plan=plan)
        try:
            built = targets.instantiate(setup.target, plan, self.sources.before.module, seed=7)
            materialise(built, single, _as_it_is)
        except (Exception, stubs.StubTouched):  # whatever a constructor raises
            return None
        works = heads and workable(single, built, _as_it_is, targets.signature_of(built), 1)
        return single if works else None

    def _try_at(self, setup: Setup, device: str, rate: float | None, regime: str = "") -> None:
        """All trials of one setup, with every dropout at ``rate``; ``regime`` is one in which both must agree."""
        pair = build_pair(self.sources, setup, _as_it_is, self.tell)
        if rate is not None:
            for module in (pair.before, pair.after):
                dropouts.set_rate(module, rate, setup.plan)
        self.tell("before: choosing input shapes")
        assignments = workable(setup, pair.before, _as_it_is, targets.signature_of(pair.before), _SHAPES)
        if self.job.agree == "one token":
            assignments += _of_one_token(setup, pair, assignments)
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
                arrived = _Arrived()
                for count, assignment in enumerate(assignments):
                    if time.monotonic() > self.deadline:
                        raise TimeoutError
                    conditions = trial.Conditions(device, dtype, training, seed=1000 + 17 * count)
                    case = Case(setup, pair, copies, assignment, conditions, regime)
                    self._trial(case, arrived, first=count == 0)
                if lost := sorted(arrived.before - arrived.after):
                    where = f"{str(dtype).removeprefix('torch.')} on {device}, {'train' if training else 'eval'} mode"
                    raise Refuted(f"the {lost[0]} is lost: it is zero, whatever the inputs ({where})")
        self.shown.close()

    def _trial(self, case: Case, arrived: _Arrived, *, first: bool) -> None:
        sources, pair, conditions = self.sources, case.pair, case.conditions
        note = Noting(self.record, conditions, case.make().shapes or _shapes_of_parameters(pair.before))
        where = f"{case.setup.target} on {conditions.device}"
        seen = []
        with watch(sources.before.pseudo, sources.after.pseudo) as rows:
            self.tell(f"before: {where}")
            before = trial.run(case.copies[0], case.make, case.positional, conditions)
            self.tell(f"after: {where}")
            after = trial.run(case.copies[1], case.make, case.positional, conditions)
            works = before.error is None and after.error is None
            if works and not conditions.training and not case.regime:
                seen = [observed(case, probe, self.tell) for probe in self.job.probes]
        wide = conditions.dtype == torch.float64 and not conditions.default
        if before.error is not None and after.error is not None and wide:
            # Perhaps it makes tensors of the default dtype.
            self._trial(case.with_default_dtype(), arrived, first=first)
            return
        if before.error is not None and not isinstance(before.error, stubs.StubTouched):
            note("skipped", None, f"before raises {imports.in_one_line(before.error)}")
            return
        if before.error is not None or after.error is not None:
            note.errors(before.error, after.error)
            return
        difference = trial.compare(before, after, pair.new)
        if why := _other_form(before, after) or trial.handed_on(before, after, "corrected"):
            _refute(note, None, why)
        if first:
            again = trial.run(pair.before, case.make, case.positional, conditions)
            if again.error is not None or trial.compare(before, again, frozenset()).difference:
                note("skipped", None, "before is not reproducible: two runs with the same seed differ")
                return
        if why := _idle(case, pair.after, after):
            if not _idle(case, pair.before, before):
                _refute(note, difference.largest, f"after: {why}")
            note("skipped", None, why)
            return
        if why := _blinded(case):
            _refute(note, difference.largest, why)
        ran_before = pair.ran_before | ran(sources.changed_before, rows, sources.before)
        ran_after = pair.ran_after | ran(sources.changed_after, rows, sources.after)
        met = pair.ran_flagged | ran(sources.flagged, rows, sources.before)
        missed = sources.missed(ran_before, ran_after)
        if missed or (sources.flagged and not met):
            note("not covered", difference.largest, missed or "the flagged lines did not run")
            ran_elsewhere = self.record.met >= self.sources.flagged
            if ran_elsewhere and self.record.ran_before >= self.sources.changed_before:
                self.shown.pass_by(seen)
            return
        details = [self._agreement(case, before, after, difference, note)] if _must_agree(self.job.agree, case) else []
        details += [self.shown.judge(case, each, note) for each in seen]
        details += ["with float64 as the default dtype"] if conditions.default else []
        arrived.before |= _with_gradient(before)
        arrived.after |= _with_gradient(after)
        self.record.ran_before |= ran_before
        self.record.ran_after |= ran_after
        self.record.met |= met
        meant, wrong = self.oracle.judge(case, before, after, seen)
        if wrong:  # a probe, or a gradient that is lost, may tell it in plainer words in another mode
            note("differ", difference.largest, wrong)
            self.misread = self.misread or note.counterexample(wrong)
            return
        note("agree", difference.largest, "; ".join(filter(None, [*details, meant])))

    def _agreement(
        self, case: Case, before: trial.Seen, after: trial.Seen, difference: trial.Comparison, note: Noting
    ) -> str:
        """In words, how both agree where they must. Raise Refuted where they do not."""
        rounded = ""
        if difference.difference:
            rounded = rounding.excuse(case.setup, case.pair.before, case.assignment, case.conditions, before, after)
            if not rounded:
                detail = f"where both must agree ({self.job.agree}), {difference.difference}"
                _refute(note, difference.largest, detail)
        self.record.rounded |= bool(rounded)
        self.agreed.add(case.conditions.device)
        return f"both agree ({'; '.join(filter(None, (self.job.agree, rounded)))})"

    def _also(self, kind: str, setup: Setup) -> str:
        """One run of what must go on working, on the CPU in float32 and eval mode; in words, whether it does."""
        pair = build_pair(self.sources, setup, _as_it_is, self.tell)
        conditions = trial.Conditions("cpu", torch.float32, training=False, seed=1000)
        copies = Pristine(pair.before), Pristine(pair.after)
        case = Case(setup, pair, copies, setup.assignments[0], conditions, "")
        self.tell(f"before: torch.{kind}")
        _, unable = also.run(kind, pair.before, case.make(), case.positional)
        self.tell(f"after: torch.{kind}")
        _, broken = also.run(kind, pair.after, case.make(), case.positional)
        if broken and not unable:
            raise Refuted(f"torch.{kind}: only after raises {broken}")
        return f"torch.{kind} did not work before" if unable else f"torch.{kind} works as before"


def _as_it_is() -> contextlib.AbstractContextManager[None]:
    """The meaning of code that computes the wrong thing: none but its own."""
    return contextlib.nullcontext()


def _of_one_token(setup: Setup, pair: Pair, known: list[Assignment]) -> list[Assignment]:
    """Assignments in which every dim that counts tokens has length 1, beyond those that are ``known``."""
    first = setup.assignments[0]
    ones = {**first.sizes, **dict.fromkeys(_TOKENS, 1)}
    wanted = tuple(Assignment({**ones, "b": size}, "contiguous") for size in (1, 3, 2))
    signature = targets.signature_of(pair.before)
    accepted = workable(replace(setup, assignments=wanted), pair.before, _as_it_is, signature, len(wanted))
    return [each for each in accepted if _is_one_token(setup, each) and each not in known]


def _is_one_token(setup: Setup, assignment: Assignment) -> bool:
    dims = [str(dim) for spec in setup.specs.values() if isinstance(spec, TensorSpec) for dim in spec.dims]
    used = [symbol for symbol in _TOKENS if any(symbol in dim.split("*") for dim in dims)]
    return bool(used) and all(assignment.sizes.get(symbol) == 1 for symbol in used)


def _defaults(thing: Any) -> dict[str, Any]:
    """What a class or function is called with where nothing is given; nothing where it does not say."""
    with contextlib.suppress(ValueError, TypeError):
        return {name: each.default for name, each in inspect.signature(thing).parameters.items()}
    return {}


def _must_agree(regime: str, case: Case) -> bool:
    if case.regime:
        return case.regime == regime
    match regime:
        case "train":
            return case.conditions.training
        case "one token":
            return _is_one_token(case.setup, case.assignment)
    return False


def _other_form(before: trial.Seen, after: trial.Seen) -> str:
    """In words, where outputs come in another structure, shape or dtype, or are not finite in after alone."""
    if [path for path, _ in before.outputs] != [path for path, _ in after.outputs]:
        return "the structure of the outputs differs"
    for (path, left), (_, right) in zip(before.outputs, after.outputs, strict=True):
        if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
            for name in ("shape", "dtype", "device", "requires_grad"):
                if getattr(left, name) != getattr(right, name):
                    return f"{path} has {name} {getattr(left, name)} before and {getattr(right, name)} after"
            if bool(torch.isfinite(left).all()) and not bool(torch.isfinite(right).all()):
                return f"{path} is not finite in after alone"
        elif type(left) is not type(right):
            return f"{path} is a {type(left).__name__} before and a {type(right).__name__} after"
    return ""


def _idle(case: Case, module: Any, seen: trial.Seen) -> str:
    """Why an execution of ``module`` says nothing; "" where it does say something."""
    if trial.says_something(seen, "input " if case.setup.specs else ""):
        return ""
    moves = depends_on_inputs(module, case.setup, case.assignment, case.conditions, case.positional, _as_it_is)
    return "" if moves else "the outputs are not finite, or do not depend on the inputs"


def _blinded(case: Case) -> str:
    """In words, a token whose output depends on nothing in after alone; "" where there is none, or it is not tried."""
    at = case.conditions
    if at.device != "cpu" or at.dtype != torch.float32 or at.training:
        return ""
    rows = [
        unmoved_rows(module, case.setup, case.assignment, at, case.positional, _as_it_is)
        for module in (case.pair.before, case.pair.after)
    ]
    lost = sorted(rows[1] - rows[0])
    return f"in after alone, the output at token {lost[0][1]} does not depend on the inputs" if lost else ""


def _with_gradient(seen: trial.Seen) -> set[str]:
    """The names of what a finite gradient other than zero arrived at."""
    return {
        name
        for name, value in seen.gradients
        if isinstance(value, torch.Tensor) and bool((torch.isfinite(value) & (value != 0)).any())
    }


def _shapes_of_parameters(module: Any) -> tuple[str, ...]:
    return tuple(f"{name}: {tuple(value.shape)}" for name, value in module.named_parameters())


def _refute(note: Noting, largest: float | None, detail: str) -> NoReturn:
    note("differ", largest, detail)
    raise Refuted(note.counterexample(detail))
