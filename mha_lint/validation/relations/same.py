"""The relations under which results stay: equivalent, repaired and extended."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.findings import HALF_PHASE, Verdict
from mha_lint.validation.relations import holding, intentions, phases, projected, rounding
from mha_lint.validation.relations.claim import Extra, Outcome, Ran, Variant
from mha_lint.validation.relations.fused import Fused
from mha_lint.validation.relations.shown_phases import ShownPhases
from mha_lint.validation.search import optional, subclasses, targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.construct import without_dropout
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.setups import Setup, as_it_is, depends_on_inputs
from mha_lint.validation.search.specs import Assignment, Constant
from mha_lint.validation.trials import (
    drawing,
    dropouts,
    extremes,
    given,
    interface,
    kernels,
    parts,
    process_state,
    spread,
    trial,
    uses,
)
from mha_lint.validation.trials.case import Case, Tried
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pairing import Pair, Sources, owners_of
from mha_lint.validation.trials.record import DTYPES, HALF, NEEDED, UNSEEN, Noting, Record, error_out_of_reach

_HALF_ON_CPU: dict[str, torch.dtype] = {"half overflow": torch.float16, HALF_PHASE: torch.bfloat16}
_ELSEWHERE = 3.0  # seconds for sizes other than the first that ran
_FLIPPED = 2.0  # seconds for the constructor's flags, the other way round


_MET = {True: "before raised at the flagged line", False: "before rounds what is cast at the flagged line"}


class Same(Struct, dict=True):
    """The claim that after gives what before gives, or means to give where it raises (*repaired*).

    With ``alone``, the texts are the changed statements alone.
    """

    sources: Sources
    record: Record
    devices: dict[str, str]
    alone: bool
    as_handed: bool = False
    results_stay: bool = True
    met: set[Statement] = field(default_factory=set)
    settings: process_state.Settings = field(default_factory=process_state.settings)
    has_tried_edges: bool = False
    given: dict[str, set[str]] = field(default_factory=dict)  # the arguments that calls gave, of each class
    fused: Fused = field(default_factory=Fused)
    numbers: dict[str, bool] = field(default_factory=dict)  # for each gradient, whether it was free of NaN in a trial

    @cached_property
    def phases(self) -> ShownPhases | None:
        """What a repair that is about phases has shown."""
        is_about_phases = self.sources.job.expected == HALF_PHASE
        return ShownPhases(self.sources, self.record) if is_about_phases else None

    def meaning(self) -> contextlib.AbstractContextManager[None]:
        job = self.sources.job
        if job.relation != "repaired":
            return as_it_is()
        if job.expected == HALF_PHASE:
            return phases.as_meant(self.sources.before.pseudo, self.sources.flagged, self.met)
        return intentions.intended(job.expected, self.sources.before.pseudo, self.sources.flagged, self.met)

    def further(self, search: Search, setups: list[Setup]) -> list[Setup]:
        """Setups of other sizes, where the first ones raised no error or take no inputs whose shapes could vary."""
        if not setups:
            return []
        silent = self.sources.flagged.difference(*(setup.met for setup in setups))
        if self.sources.job.expected != "view":  # that is for the dtype, or for the device
            silent = frozenset()
        wanted = 0 if setups[0].specs else NEEDED - len(setups)
        found: list[Setup] = []
        if silent or wanted > 0:
            for setup in search.elsewhere(setups[0], now() + _ELSEWHERE):
                if setup.met & silent or len(found) < wanted:
                    found.append(setup)
                    silent -= setup.met
                if not silent and len(found) >= wanted:
                    break
        return found

    def variants(self, setup: Setup, device: str) -> Iterator[Variant]:
        yield Variant(setup)
        if not any(item.mode == "train" for item in self.record.agreeing(device)):  # some code can't train with dropout
            yield Variant(replace(setup, plan=without_dropout(setup.plan)))

    def elsewhere(self, search: Search, setup: Setup, device: str) -> Iterator[Extra]:
        """Few trials with other flags, sizes and optional inputs, and with each kernel of attention."""
        if device == "cpu":
            yield from self._further(search, setup)
        yield from self.fused.extras(self.sources.before.module, device)

    def _further(self, search: Search, setup: Setup) -> Iterator[Extra]:
        until = now() + _FLIPPED
        others: tuple[Iterable[Setup], ...] = ()
        if not self.alone:
            inheriting = subclasses.inheriting(setup, self.sources.before)
            others = (search.apart(setup, until), optional.given(search, setup), inheriting)
        for other in itertools.chain(search.flipped(setup, until), *others):
            yield Extra(other, (torch.float32,), shapes=2, needed=False)
        module = self.sources.before.module
        if self.alone or not dropouts.is_idle(setup, module):
            return
        if dropping := dropouts.dropping(setup, module):
            yield Extra(dropping, (torch.float32,), shapes=2, rate=dropouts.RATE, needed=False)

    def dtypes(self, device: str) -> tuple[torch.dtype, ...]:
        if device == "cuda" and "cpu" not in self.devices:
            return (*DTYPES["cuda"], torch.float64)  # what float64 tells is told on the CPU, if there is one
        more = _HALF_ON_CPU.get(self.sources.job.expected)
        return (*DTYPES["cpu"], more) if more is not None and device == "cpu" else DTYPES[device]

    def assignments(self, variant: Variant, pair: Pair, found: list[Assignment]) -> list[Assignment]:
        """The sizes at which before means something: at those of one token, it may spread scores over a mask."""
        if self.sources.job.relation != "equivalent" or self.alone:
            return found
        kept: list[Assignment] = []
        for each in found:
            is_single = any(size == 1 for name, size in each.sizes.items() if name != "b")
            if not is_single or not self._spreads(variant.setup, pair, each):
                kept.append(each)
        return kept

    def _spreads(self, setup: Setup, pair: Pair, assignment: Assignment) -> bool:
        inspected = setup.inspected
        at = uses.conditions(training=False)

        def run(module: Any) -> trial.Seen:
            made = drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, at)
            return trial.run(module, lambda: made, pair.positional, at, way=trial.Way(learns=False, backward=False))

        found = spread.spreads_scores(run(pair.after).error, lambda: run(pair.before))
        self.fused.spreads |= found
        return found

    def prepared(self, case: Case, tell: Callable[[str], None]) -> Case:
        return self.fused.prepared(case, tell) if self.sources.job.relation == "equivalent" else case

    def execute(self, case: Case, tell: Callable[[str], None]) -> tuple[trial.Seen, trial.Seen]:
        where = f"{case.setup.target} on {case.conditions.device}"
        self.met.clear()
        tell(f"before: {where}")
        meant = None if self.phases is None else self.meaning()  # it does not raise
        before = trial.run(case.copies[0], case.make, case.positional, case.conditions, meant, way=case.way)
        if before.error is not None and self._is_expected(before.error):
            before = trial.run(case.copies[0], case.make, case.positional, case.conditions, self.meaning())
        tell(f"after: {where}")
        after = trial.run(case.copies[1], case.make, case.positional, case.conditions, way=case.way)
        return before, self.fused.as_compared(case, before, after)

    def errors(self, note: Noting, before: BaseException | None, after: BaseException | None) -> None:
        if before is None and self.fused.refuses(note, after):
            return
        is_equivalent = self.sources.job.relation == "equivalent"
        if is_equivalent and after is None and before is not None and intentions.overflows_half(before):
            note("skipped", None, "before can't run in this dtype: a number in it is none there, and torch says so")
            return
        note.errors(before, after)

    def judge(self, tried: Tried, ran: Ran) -> Outcome:
        case, note, difference = tried.case, tried.note, tried.comparison
        if self.fused.draws_otherwise(case, tried.before):
            return Outcome("skipped", "before draws random numbers, and this kernel draws others")
        copied = bool(difference.difference) and self._equals_copied(tried)
        differs = bool(difference.difference) and not copied
        repeats = 3 if differs else 1 if tried.first else 0  # chance must not pass for a counterexample
        if not all(self._is_repeated(tried) for _ in range(repeats)):
            return Outcome("skipped", "before is not reproducible: two runs with the same seed differ")
        rounded = ""
        if differs and self.sources.job.relation == "equivalent":
            by_kernel = self.fused.takes(case)
            rounded = rounding.excuse(case, tried.before, tried.after, by_kernel=by_kernel)
            is_wide = case.conditions.dtype == torch.float64
            if not rounded and by_kernel and not is_wide and rounding.is_chance(case, tried.before, tried.after):
                far = "tenth" if case.conditions.dtype in HALF else "hundredth"
                return Outcome("skipped", f"before has no digits in this dtype: against float64, it is off by a {far}")
        if differs and not rounded:
            note.refute(difference.difference, difference.largest)
        if not self.alone and (why := trial.handed_on(tried.before, tried.after, self.sources.job.relation)):
            note.refute(why, difference.largest)
        _check_gradients_reach(case.pair, tried)
        says = trial.says_something(tried.before, "input " if case.setup.specs else "")
        if self.phases is not None:
            says = says or trial.tells_places(tried.before)  # tables of positions depend on the sizes of inputs alone
        if not says and not depends_on_inputs(
            case.pair.before, case.setup, case.assignment, case.conditions, case.positional, self.meaning
        ):
            return Outcome("skipped", "the outputs are not finite, or do not depend on the inputs")
        if self.alone and tried.before.form != tried.after.form:
            note.refute("the results are of other kinds", difference.largest)
        if self.alone and (apart := trial.laid_apart(tried.before, tried.after)):
            if self.sources.job.relation == "equivalent":  # code after it could tell
                note.refute(apart, difference.largest)
            return Outcome("skipped", apart)
        if missed := self.sources.missed(ran.before, ran.after):
            return Outcome("not covered", missed)
        names = {name for name, spec in case.setup.specs.items() if spec != Constant(None)}
        self.given.setdefault(case.setup.target.name, set()).update(names)
        self.fused.agrees(case)
        self._note_numbers(tried.before, excused=bool(rounded))
        raised = _MET[self.phases is None] if self.met else ""
        apart = f"equal to before on contiguous copies; with its own strides {difference.difference}" if copied else ""
        details = "; ".join(filter(None, (raised, apart, rounded)))
        return Outcome("agree", details, frozenset(self.met), apart=bool(copied or rounded), rounded=bool(rounded))

    def _note_numbers(self, before: trial.Seen, *, excused: bool) -> None:
        """Note which gradients were compared, and which were not, since some of that run are no numbers."""
        tensors = [(name, value) for name, value in before.gradients if isinstance(value, torch.Tensor)]
        floats = [(name, value) for name, value in tensors if value.is_floating_point()]
        are_numbers = not any(bool(value.isnan().any()) for _, value in floats)
        for name, _ in floats:
            if are_numbers or excused:
                self.numbers[name] = self.numbers.get(name, False) or are_numbers

    def end(self, variant: Variant) -> None: ...

    def misused(self, variant: Variant, pair: Pair, assignments: list[Assignment], device: str) -> uses.Misuse | None:
        """Few calls as others may make them: without gradients, by place, and many of one copy."""
        if self.phases is not None:
            self.phases.look(variant.setup, device)
        if self.alone:
            return None
        used = uses.Uses(
            variant.setup, pair, assignments, self.meaning, self.sources.job.relation, device,
            kernel_in_training=self.fused.kernel_in_training(pair), by_kernel=self.fused.takes_kernel(pair),
        )  # fmt: skip
        if device != "cpu":
            return used.difference() or self._edges_of(used).under_autocast() or self._with_odd_masks(used)
        return (
            used.difference()
            or self._in_its_parts(pair, used)
            or self._misapplied(pair, used)
            or self._at_edges(used)
            or self._with_odd_masks(used)
            or self._kept_otherwise(used)
        )

    def lacking(self) -> str:
        """An optional input that the rewrite uses otherwise, and that no call of the class gave, in words."""
        if never := sorted(name for name, is_whole in self.numbers.items() if not is_whole):
            return f"{never[0]} is not a number in any trial, so that it was not compared"
        for method, names in given.used_otherwise(self.sources.before.tree, self.sources.after.tree).items():
            owner, _, name = method.rpartition(".")
            never = sorted(names - self.given.get(owner, names))
            if name == "forward" and never:
                return f"the rewrite uses `{never[0]}` otherwise, which no trial gave"
        return "" if self.phases is None else self.phases.lacking(self.devices)

    def finish(self, verdict: Verdict, *, in_time: bool) -> Verdict:
        if self.phases is not None:
            unshown = in_time and verdict.verdict == "not exercised" and self.phases.shows_nothing()
            verdict = replace(verdict, counterexample=self.phases.counterexample, unshown=unshown)
        if verdict.verdict != "validated":
            return verdict
        if self.record.moved:
            moved = "the new parameters do not start at the identity and were put there"
            verdict = replace(verdict, reason=f"{verdict.reason}; {moved}")
        if told := self.fused.told(sorted(self.devices)):
            verdict = replace(verdict, reason=f"{verdict.reason}; {told}")
        if caveats := self.fused.caveats():
            return replace(verdict, caveat=caveats)
        return replace(verdict, caveat=UNSEEN) if error_out_of_reach(self.sources.job, self.devices) else verdict

    def _is_repeated(self, tried: Tried) -> bool:
        """Before, run once more, gives the same."""
        case = tried.case
        again = trial.run(case.pair.before, case.make, case.positional, case.conditions, self.meaning(), way=case.way)
        return again.error is None and not trial.compare(tried.before, again, frozenset()).difference

    def _is_expected(self, error: BaseException) -> bool:
        """This is the error that a repair is about, raised where it was flagged."""
        at = self.sources
        is_error = at.job.relation == "repaired" and self.phases is None
        return is_error and intentions.raises_expected(at.job.expected, error, at.before.pseudo, at.flagged)

    def _equals_copied(self, tried: Tried) -> bool:
        """After equals, to the last bit, before with contiguous copies under the flagged views.

        Where somebody writes into what such a view shares, the copy has another meaning, and this one does not count.
        """
        case, job = tried.case, self.sources.job
        if job.relation != "repaired" or job.expected != "view":
            return False
        copies = holding.Copies()
        meaning = holding.copied_views(self.sources.before.pseudo, self.sources.flagged, copies)
        seen = trial.run(case.pair.before, case.make, case.positional, case.conditions, meaning)
        if seen.error is not None or not copies.stand_apart():
            return False
        return not trial.compare(seen, tried.after, case.pair.new).difference

    def _at_edges(self, used: uses.Uses) -> uses.Misuse | None:
        """Return the first difference at the edges of what the first setup takes; None once that was tried."""
        if self.has_tried_edges:
            return None
        self.has_tried_edges = True
        edges = self._edges_of(used)
        found = edges.difference()
        self.fused.spreads |= bool(edges.spread)
        if found is None and self.fused.setups:
            self.fused.loses_second = edges.loses_second_derivative()
        return found

    def _with_odd_masks(self, used: uses.Uses) -> uses.Misuse | None:
        return self._edges_of(used).odd_masks() if self.sources.job.relation == "equivalent" else None

    def _edges_of(self, used: uses.Uses) -> extremes.Extremes:
        relation = self.sources.job.relation
        return extremes.Extremes(
            used.setup, used.pair, used.assignments, self.meaning, relation, self.settings, used.device,
            only_floats=self.phases is not None,  # a factor cast to whole numbers makes no angles
            kernel_of_nan=kernels.MATH if self.fused.setups else "", kernel_in_training=used.kernel_in_training,
            by_kernel=used.by_kernel,
        )  # fmt: skip

    def _in_its_parts(self, pair: Pair, used: uses.Uses) -> uses.Misuse | None:
        """Return the difference in what the parts of the module do in one call; None where there is none."""
        owners = owners_of(self.sources)
        ours, theirs = (
            tuple(cls for owner in owners if isinstance(cls := targets.lookup(each.module, owner), type))
            for each in (self.sources.before, self.sources.after)
        )
        copies = copy.deepcopy(pair.before), copy.deepcopy(pair.after)
        call = used.ran(training=False, learns=True)
        words = parts.difference(*copies, (ours, theirs), call, self.sources.job.relation)
        return (words, uses.conditions(training=False), used.assignments[0]) if words else None

    def _kept_otherwise(self, used: uses.Uses) -> uses.Misuse | None:
        """Return what all calls so far changed in one of the two files alone; None where there is nothing."""
        words = interface.kept_otherwise(self.sources.kept, (self.sources.before.module, self.sources.after.module))
        return (words, uses.conditions(training=False), used.assignments[0]) if words else None

    def _misapplied(self, pair: Pair, used: uses.Uses) -> uses.Misuse | None:
        """Return what a projection, gained or newly applied, does wrong with weights other than the identity."""
        names = (*self.sources.job.added, *self.sources.job.identity)
        if self.sources.job.relation != "extended":
            return None
        for training, learns in ((True, True), (False, True), (False, False)):
            run = used.ran(training, learns)
            words = projected.misapplied(pair.before, pair.after, owners_of(self.sources), names, run)
            if words:
                return words, uses.conditions(training=training), used.assignments[0]
        return None


def _check_gradients_reach(pair: Pair, tried: Tried) -> None:
    """Raise Refuted where new parameters, or newly applied ones, would never learn."""
    gradients, earlier = dict(tried.after.gradients), dict(tried.before.gradients)
    for name in sorted(pair.applied):
        if earlier.get(f"gradient of {name}") is not None:
            tried.note.refute(f"before applies {name} already")
    for name in sorted(pair.gained | pair.applied):
        gradient: Any = gradients.get(f"gradient of {name}")
        if gradient is None or not bool((gradient != 0).any()):
            tried.note.refute(f"no gradient reaches {name}")
