"""The relation *corrected*: before violates a named probe, after satisfies it, and where both must agree they do."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.findings import RAISES, Verdict
from mha_lint.validation.child import stubs
from mha_lint.validation.probes import Observation
from mha_lint.validation.relations import rounding
from mha_lint.validation.relations.claim import Extra, Outcome, Ran, Variant
from mha_lint.validation.relations.oracles import Oracle
from mha_lint.validation.relations.shown import Shown, observed
from mha_lint.validation.search import targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.setups import (
    Setup,
    as_it_is,
    depends_on_inputs,
    materialise,
    unmoved_rows,
    workable,
)
from mha_lint.validation.search.specs import Assignment, TensorSpec
from mha_lint.validation.trials import dropouts, trial, uses
from mha_lint.validation.trials.case import Case, Tried
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pairing import Pair, Refuted, Sources
from mha_lint.validation.trials.record import DTYPES, Noting, Record

_OTHERS, _ELSEWHERE = 6, 3.0  # other settings, and the seconds to find them, where the first show nothing wrong
_HEADS = re.compile(r"^(?:n|num)?_?(?:attention_|attn_)?heads?$")  # the argument that counts them
_TOKENS = ("t", "s", "H", "W")  # the symbols of dims that count tokens
_ONE_TOKEN = "one token"  # or one head, where the number of tokens is fixed
_OF_ALL_HEADS = "one token of all heads"


class _Arrived(Struct):
    """Names of what a gradient arrived at, over the trials of one setup and mode."""

    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)


class Corrected(Struct, dict=True):
    """The claim that before is wrong, and after right, by one of the job's probes."""

    sources: Sources
    record: Record
    devices: dict[str, str]
    as_handed: bool = True
    results_stay: bool = False
    met: set[Statement] = field(default_factory=set)
    agreed: set[str] = field(default_factory=set)  # devices that saw the regime in which both must agree
    misread: str = ""  # the first trial in which after is none of what before may mean
    _arrived: dict[bool, _Arrived] = field(default_factory=dict)  # by mode, of the variant under way
    _seen: list[tuple[Observation, Observation]] = field(default_factory=list)  # in the trial under way

    @cached_property
    def shown(self) -> Shown:
        return Shown(self.sources.job.axes)

    @cached_property
    def oracle(self) -> Oracle:
        return Oracle(self.sources)

    def meaning(self) -> contextlib.AbstractContextManager[None]:
        """None but its own: the code computes the wrong thing."""
        return as_it_is()

    def further(self, search: Search, setups: list[Setup]) -> list[Setup]:
        """Return at most one setup that reaches, in train mode, wanted lines that the other setups do not."""
        missing = search.wanted.difference(*(setup.covered for setup in setups))
        return [setup for setup in search.trained if setup.covered & missing][:1]

    def variants(self, setup: Setup, device: str) -> Iterator[Variant]:
        agree = self.sources.job.agree
        if "eval determinism" in self.sources.job.probes or agree == "train":
            active = dropouts.dropping(setup, self.sources.before.module)
            yield Variant(active or setup, dropouts.RATE if active else None)
        else:
            yield Variant(setup)
        if agree == "no dropout":
            thing = targets.lookup(self.sources.before.module, setup.target.name)
            yield Variant(dropouts.at_rate(setup, thing, 0.0), 0.0, "no dropout")
        if agree == _ONE_TOKEN and device not in self.agreed and (single := self._of_one_head(setup)):
            yield Variant(single, regime=_ONE_TOKEN)
        if self.misread:
            raise Refuted(self.misread)

    def elsewhere(self, search: Search, setup: Setup, device: str) -> Iterator[Extra]:
        """Other flags and sizes, and what uses the class, for what is wrong under some settings alone."""
        if self.shown.on((device,)):
            return
        until = now() + _ELSEWHERE
        using = search.using(self.sources.job.symbols, setup, until)
        others = [*itertools.islice(using, 1), *search.flipped(setup, until), *search.elsewhere(setup, until)]
        for other in others[:_OTHERS]:
            if self.shown.on((device,)):
                return
            yield Extra(other)

    def dtypes(self, device: str) -> tuple[torch.dtype, ...]:
        return DTYPES[device]

    def assignments(self, variant: Variant, pair: Pair, found: list[Assignment]) -> list[Assignment]:
        if self.sources.job.agree not in (_ONE_TOKEN, _OF_ALL_HEADS):
            return found
        return [*found, *_of_one_token(variant.setup, pair, found)]

    def prepared(self, case: Case, tell: Callable[[str], None]) -> Case:
        return case

    def execute(self, case: Case, tell: Callable[[str], None]) -> tuple[trial.Seen, trial.Seen]:
        where = f"{case.setup.target} on {case.conditions.device}"
        tell(f"before: {where}")
        before = trial.run(case.copies[0], case.make, case.positional, case.conditions)
        tell(f"after: {where}")
        after = trial.run(case.copies[1], case.make, case.positional, case.conditions)
        works = before.error is None and after.error is None
        is_probed = works and not case.conditions.training and not case.regime
        asked = [probe for probe in self.sources.job.probes if probe != RAISES and self.shown.wants(probe)]
        probes = asked if is_probed else []
        self._seen = [observed(case, probe, self.sources.job.axes, tell) for probe in probes]
        return before, after

    def errors(self, note: Noting, before: BaseException | None, after: BaseException | None) -> None:
        if before is not None and not isinstance(before, stubs.StubTouched):
            note.skipped(before)
        else:
            note.errors(before, after)

    def judge(self, tried: Tried, ran: Ran) -> Outcome:
        case, note = tried.case, tried.note
        turned = "tokens meet" in self.sources.job.probes
        if why := _other_form(tried.before, tried.after, turned=turned) or trial.handed_on(
            tried.before, tried.after, "corrected"
        ):
            note.refute(why)
        if tried.first:
            again = trial.run(case.pair.before, case.make, case.positional, case.conditions)
            if again.error is not None or trial.compare(tried.before, again, frozenset()).difference:
                return Outcome("skipped", "before is not reproducible: two runs with the same seed differ")
        if why := _idle(case, case.pair.after, tried.after):
            if not _idle(case, case.pair.before, tried.before):
                note.refute(f"after: {why}", tried.comparison.largest)
            return Outcome("skipped", why)
        if why := _blinded(case):
            note.refute(why, tried.comparison.largest)
        passed_by = bool(self.sources.flagged) and not ran.flagged
        rounded = _rounding(tried) if passed_by or _must_agree(self.sources.job.agree, case) else None
        if passed_by and tried.comparison.difference and not rounded:
            words = f"the flagged lines did not run, and {tried.comparison.difference}"
            note.refute(words, tried.comparison.largest)
        missed = self.sources.missed(ran.before, ran.after)
        if missed or passed_by:
            ran_elsewhere = self.record.met >= self.sources.flagged
            if ran_elsewhere and self.record.ran_before >= self.sources.changed_before:
                self.shown.pass_by(self._seen)
            if missed:
                return Outcome("not covered", missed)
            return Outcome("agree", "the flagged lines did not run, and results stay", rounded=bool(rounded))
        details = [] if rounded is None else [self._agreement(tried, rounded)]
        details += [self.shown.judge(case, each, note) for each in self._seen]
        arrived = self._arrived.setdefault(case.conditions.training, _Arrived())
        arrived.before |= _with_gradient(tried.before)
        arrived.after |= _with_gradient(tried.after)
        meant, wrong = self.oracle.judge(case, tried.before, tried.after, self._seen)
        if wrong:  # a probe, or a gradient that is lost, may tell it in plainer words in another mode
            self.misread = self.misread or note.counterexample(wrong)
            return Outcome("differ", wrong)
        return Outcome("agree", "; ".join(filter(None, [*details, meant])), ran.flagged, rounded=bool(rounded))

    def end(self, variant: Variant) -> None:
        arrived, self._arrived = self._arrived, {}
        for is_training, each in arrived.items():
            if lost := sorted(each.before - each.after):
                mode = "train" if is_training else "eval"
                raise Refuted(f"the {lost[0]} is lost: it is zero, whatever the inputs ({mode} mode)")
        self.shown.close()

    def misused(self, variant: Variant, pair: Pair, assignments: list[Assignment], device: str) -> uses.Misuse | None:
        """Calls of after that differ among themselves, where those of before do not.

        A call that finds what the last one kept goes on behind it: there, its probe tells what is right.
        """
        if "cached equals full" in self.sources.job.probes:
            return None
        used = uses.Uses(variant.setup, pair, assignments, self.meaning, "corrected", device)
        words = used.unsteady(pair.after)
        if not words or used.unsteady(pair.before):
            return None
        return f"in after alone, {words}", uses.conditions(training=False), assignments[0]

    def lacking(self) -> str:
        if self._shows_nothing():
            return f"validation ran it and could not show it wrong: {self.shown.in_words()}"
        if missing := sorted(item.first for item in self.sources.flagged - self.record.met):
            return f"flagged lines that never ran: {', '.join(map(str, missing))}"
        if not self.shown.on(self.devices):
            silent = [device for device in sorted(self.devices) if not self.shown.on((device,))]
            return f"before was not shown to be wrong on {', '.join(silent) or 'all devices by the same probe'}"
        agree = self.sources.job.agree
        if agree == _OF_ALL_HEADS and self.oracle.is_held:  # of a fixed number of tokens, which the class may ask for
            return ""
        if agree and (unmet := sorted(set(self.devices) - self.agreed)):
            return f"the regime in which both must agree ({agree}) never ran on {', '.join(unmet)}"
        return ""

    def finish(self, verdict: Verdict, *, in_time: bool) -> Verdict:
        if verdict.verdict == "validated" and (short := self.oracle.shortcoming()):
            verdict = replace(verdict, reason=f"{verdict.reason}; {short}")
        unshown = in_time and verdict.verdict == "not exercised" and self._shows_nothing()
        return replace(verdict, counterexample=self.shown.counterexample, unshown=unshown, bitwise=False)

    def _shows_nothing(self) -> bool:
        """Probes were asked of it, and none found anything wrong."""
        return bool(self.shown.words) and not self.shown.counterexample

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
            materialise(built, single, as_it_is)
        except (Exception, stubs.StubTouched):  # whatever a constructor raises
            return None
        works = heads and workable(single, built, as_it_is, targets.signature_of(built), 1)
        return single if works else None

    def _agreement(self, tried: Tried, rounded: str) -> str:
        """In words, how both agree where they must. Raise Refuted where they do not."""
        agree = self.sources.job.agree
        if tried.comparison.difference and not rounded:
            words = f"where both must agree ({agree}), {tried.comparison.difference}"
            tried.note.refute(words, tried.comparison.largest)
        self.agreed.add(tried.case.conditions.device)
        return f"both agree ({'; '.join(filter(None, (agree, rounded)))})"


def _rounding(tried: Tried) -> str:
    """In words, how results that differ do so by rounding alone; "" where they do not differ, or by more."""
    if not tried.comparison.difference:
        return ""
    return rounding.excuse(tried.case, tried.before, tried.after)


def _of_one_token(setup: Setup, pair: Pair, known: list[Assignment]) -> list[Assignment]:
    """Assignments in which every dim that counts tokens has length 1, beyond those that are ``known``."""
    first = setup.assignments[0]
    ones = {**first.sizes, **dict.fromkeys(_TOKENS, 1)}
    wanted = tuple(Assignment({**ones, "b": size}, "contiguous") for size in (1, 3, 2))
    signature = pair.signature
    accepted = workable(replace(setup, assignments=wanted), pair.before, as_it_is, signature, len(wanted))
    return [each for each in accepted if _is_one_token(setup, each) and each not in known]


def _is_one_token(setup: Setup, assignment: Assignment) -> bool:
    dims = [str(dim) for spec in setup.specs.values() if isinstance(spec, TensorSpec) for dim in spec.dims]
    used = [symbol for symbol in _TOKENS if any(symbol in dim.split("*") for dim in dims)]
    return bool(used) and all(assignment.sizes.get(symbol) == 1 for symbol in used)


def _defaults(thing: Any) -> dict[str, Any]:
    """Return the defaults of the parameters of a class or function, by name; nothing where it has no signature."""
    with contextlib.suppress(ValueError, TypeError):
        return {name: each.default for name, each in inspect.signature(thing).parameters.items()}
    return {}


def _must_agree(regime: str, case: Case) -> bool:
    if case.regime:
        return case.regime == regime
    match regime:
        case "train":
            return case.conditions.training
        case "one token" | "one token of all heads":
            return _is_one_token(case.setup, case.assignment)
    return False


def _other_form(before: trial.Seen, after: trial.Seen, *, turned: bool) -> str:
    """In words, where outputs come in another structure, shape or dtype, or are not finite in after alone.

    Where tokens and heads are ``turned``, maps of heads with heads are to become maps of tokens with tokens.
    """
    if [path for path, _ in before.outputs] != [path for path, _ in after.outputs]:
        return "the structure of the outputs differs"
    for (path, left), (_, right) in zip(before.outputs, after.outputs, strict=True):
        if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
            for name in ("shape", "dtype", "device", "requires_grad"):
                if name == "shape" and turned and _is_turned_map(left.shape, right.shape):
                    continue
                if getattr(left, name) != getattr(right, name):
                    return f"{path} has {name} {getattr(left, name)} before and {getattr(right, name)} after"
            if bool(torch.isfinite(left).all()) and not bool(torch.isfinite(right).all()):
                return f"{path} is not finite in after alone"
        elif type(left) is not type(right):
            return f"{path} is a {type(left).__name__} before and a {type(right).__name__} after"
    return ""


def _is_turned_map(before: torch.Size, after: torch.Size) -> bool:
    """Tell whether (…, t, h, h) has become (…, h, t, t)."""
    if len(before) != len(after) or len(before) < 3 or before[:-3] != after[:-3]:
        return False
    tokens, *heads = before[-3:]
    return heads[0] == heads[1] and tuple(after[-3:]) == (heads[0], tokens, tokens)


def _idle(case: Case, module: Any, seen: trial.Seen) -> str:
    """Why an execution of ``module`` says nothing; "" where it does say something."""
    if trial.says_something(seen, "input " if case.setup.specs else ""):
        return ""
    moves = depends_on_inputs(module, case.setup, case.assignment, case.conditions, case.positional, as_it_is)
    return "" if moves else "the outputs are not finite, or do not depend on the inputs"


def _blinded(case: Case) -> str:
    """In words, a token whose output depends on nothing in after alone; "" where there is none, or it is not tried."""
    at = case.conditions
    if at.device != "cpu" or at.dtype != torch.float32 or at.training:
        return ""
    rows = [
        unmoved_rows(module, case.setup, case.assignment, at, case.positional, as_it_is)
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
