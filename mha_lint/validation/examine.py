"""Runs one job inside the isolated child: load both texts, find a way to run them, hold them against each other."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from mha_lint.findings import Verdict, VerdictName
from mha_lint.validation.child import imports, isolation, stubs, tampering
from mha_lint.validation.job import Job
from mha_lint.validation.relations import correcting, holding, intentions, projected, rounding
from mha_lint.validation.search import harness, optional, targets
from mha_lint.validation.search.added import reaching_added
from mha_lint.validation.search.construct import without_dropout
from mha_lint.validation.search.setups import Setup, depends_on_inputs, workable
from mha_lint.validation.search.specs import Assignment, Constant
from mha_lint.validation.trials import also, regions, trial, uses
from mha_lint.validation.trials.coverage import Statement, watch
from mha_lint.validation.trials.pairing import (
    AfterBroken,
    Pair,
    Refuted,
    Sources,
    build_pair,
    load_sources,
    owners_of,
    ran,
)
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import (
    DTYPES,
    NEEDED,
    UNSEEN,
    Noting,
    Record,
    error_out_of_reach,
    shortfall,
    unreached,
    verdict_of,
)

_SHAPES = 6  # input shapes a configuration is run with, where the module takes that many
_SETUPS = 4
_ELSEWHERE = 3.0  # seconds for sizes other than the first that ran
_BEFORE = 4  # statements before the changed ones that may be run with them
_REGION = 8.0  # seconds for them
_FLIPPED = 2.0  # seconds for the constructor's flags, the other way round


def examine(job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> Verdict:
    """The verdict on ``job`` for these devices. ``tell`` announces what is about to run, lest it kill this process."""
    make_deterministic()
    originals = tampering.earliest()
    if job.also and not tampering.replaced(originals):
        also.prepare()
        originals = tampering.snapshot()
    verdict = _whole(job, devices, deadline, tell, originals)
    if found := tampering.replaced(originals):  # the trials, and what compared them, may have run on anything
        return _untrusted(f"running the code replaces {found}", devices)
    settled = verdict.verdict != "not exercised" or bool(verdict.trials) or bool(job.declared)
    if settled or job.relation not in regions.RELATIONS:
        return verdict
    tell("the changed statements alone")
    alone = _alone(job, devices, deadline, tell)
    if alone.verdict == "validated":
        return alone
    if not alone.reason:
        return verdict
    return replace(verdict, reason=f"{verdict.reason}; the changed statements alone: {alone.reason}")


def _whole(
    job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None], originals: tampering.Snapshot
) -> Verdict:
    """The verdict of the module, or function, that the changed statements are in."""
    tell("the import of the file")
    try:
        sources = load_sources(job)
    except imports.CannotLoad as error:
        return verdict_of("not exercised", devices, reason=str(error))
    except AfterBroken as error:
        return verdict_of("refuted", devices, reason=str(error))
    if found := tampering.replaced(originals):
        return _untrusted(f"importing the file replaces {found}", devices)
    stubs.arm()
    if job.relation == "corrected":
        return correcting.Correction(sources, devices, deadline, tell).verdict()
    return _Examination(sources, devices, deadline, tell).verdict()


def _alone(job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> Verdict:
    """The verdict of the changed statements alone, from as many before them as it takes.

    Where their results differ there, what they read may be nothing that the code around them would hand them: that is
    no counterexample.
    """
    verdict = verdict_of("not exercised", devices)
    for more in range(_BEFORE + 1):
        try:
            lifted = regions.lifted(job, more)
        except regions.NoRegion as error:
            return verdict if verdict.reason else replace(verdict, reason=str(error))
        verdicts = [_region(each, devices, deadline, tell) for each in lifted]
        failed = [each for each in verdicts if each.verdict != "validated"]
        if not failed:
            trials = tuple(item for each in verdicts for item in each.trials)
            reason = "; ".join(each.reason for each in verdicts)
            return replace(verdicts[0], trials=trials, reason=reason, bitwise=all(each.bitwise for each in verdicts))
        if not verdict.reason:
            verdict = replace(verdict, reason=failed[0].reason)
        if any(item.outcome in ("differ", "raised") for each in failed for item in each.trials):
            break  # more of the code around them would only hide it
        if time.monotonic() > deadline:
            break
    return verdict


def _region(job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> Verdict:
    try:
        sources = load_sources(job)
    except (imports.CannotLoad, AfterBroken) as error:
        return verdict_of("not exercised", devices, reason=str(error))
    deadline = min(deadline, time.monotonic() + _REGION)
    return _Examination(sources, devices, deadline, tell, level="region").verdict()


def _untrusted(what: str, devices: dict[str, str]) -> Verdict:
    return verdict_of("not exercised", devices, reason=f"{what}: what it computes can't be trusted here")


def make_deterministic() -> None:
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("warn")  # the same setting, without importing the compiler stack
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def as_it_is() -> contextlib.AbstractContextManager[None]:
    """The meaning of code that runs: its own."""
    return contextlib.nullcontext()


class _Examination:
    def __init__(
        self,
        sources: Sources,
        devices: dict[str, str],
        deadline: float,
        tell: Callable[[str], None],
        level: str = "",
    ) -> None:
        self.sources = sources
        self.job = sources.job
        self.devices = devices
        self.deadline = deadline
        self.tell = tell
        self.record = Record()
        self.met_now: set[Statement] = set()
        self.level = level  # "" for the one of the setup
        self.described: list[str] = []

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        sources = self.sources
        budget = min(self.deadline, time.monotonic() + min(10.0, 0.4 * (self.deadline - time.monotonic())))
        search = harness.Search(
            sources.before,
            sources.wanted,
            self._meaning,
            self.job.hints,
            budget,
            self.met_now,
            declared=self.job.declared,
        )
        setups = search.find(self.job.symbols)[:_SETUPS]
        if self.level == "region":  # a constant in place of what the code computes may hide what it means
            setups = [each for each in setups if not any(isinstance(spec, Constant) for spec in each.specs.values())]
        if not setups:
            return unreached(search, self.job, self.devices)
        setups += self._other_sizes(search, setups)
        self.described = [setup.describe() for setup in setups]
        self.level = self.level or setups[0].level
        reason = ""
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                for setup in setups:
                    self._try_setup(setup, device)
                    if not any(item.mode == "train" for item in self.record.agreeing(device)):
                        self._try_setup(replace(setup, plan=without_dropout(setup.plan)), device)
            self._try_flags(search, setups[0])
            if self.level != "region":
                self._try_added(search)
            reason = shortfall(self.record, sources, self.devices)
            for kind in self.job.also if not reason else ():  # it makes up for nothing that is lacking
                self._try_also(kind, setups[0])
        except Refuted as error:
            return self._finish("refuted", str(error))
        except TimeoutError:
            reason = f"time ran out after {len(self.record.trials)} trials"
        return self._finish("not exercised", reason) if reason else self._finish("validated", "; ".join(self.described))

    def _try_flags(self, search: harness.Search, setup: Setup) -> None:
        """Few trials with other flags, sizes and optional inputs; where time runs out, the rest stands."""
        with contextlib.suppress(TimeoutError):
            until = min(self.deadline, time.monotonic() + _FLIPPED)
            others = () if self.level == "region" else (search.apart(setup, until), optional.given(search, setup))
            for other in itertools.chain(search.flipped(setup, until), *others):
                self._try_setup(other, "cpu", dtypes=(torch.float32,), shapes=2)

    def _try_added(self, search: harness.Search) -> None:
        """Few trials of what only the text after has, where no trial has run it yet."""
        missing = self.sources.changed_after - self.record.ran_after
        for setup in reaching_added(self.sources, missing, search, self.deadline):
            self.described.append(setup.describe())
            self._try_setup(setup, "cpu", dtypes=(torch.float32,), shapes=2)

    def _try_also(self, kind: str, setup: Setup) -> None:
        """One trial of what must go on working, on the CPU in float32 and eval mode."""
        pair = build_pair(self.sources, setup, self._meaning, self.tell)
        conditions = trial.Conditions("cpu", torch.float32, training=False, seed=1000)
        positional = trial.positional_only(targets.signature_of(pair.before))
        inspected = setup.inspected

        def inputs() -> trial.Inputs:
            return trial.make_inputs(
                setup.specs, setup.assignments[0], inspected.sizes, inspected.vocabulary, conditions
            )

        note = Noting(self.record, conditions, inputs().shapes)
        self.tell(f"before: torch.{kind}")
        before, why = also.run(kind, pair.before, inputs(), positional)
        self.tell(f"after: torch.{kind}")
        after, broken = also.run(kind, pair.after, inputs(), positional)
        if before.error is not None:
            other = "neither does after" if broken else "after does"
            note("skipped", None, f"torch.{kind}: before does not work ({why}), {other}")
            self.described.append(f"torch.{kind} did not work before")
            return
        difference = trial.compare(before, after, pair.new, pair.applied)
        detail = f"only after raises {broken}" if broken else difference.difference
        if detail:
            note("differ", None, f"torch.{kind}: {detail}")
            raise Refuted(note.counterexample(f"torch.{kind}: {detail}"))
        note("agree", difference.largest, f"torch.{kind}")
        self.described.append(f"torch.{kind} works as before")

    def _other_sizes(self, search: harness.Search, setups: list[Setup]) -> list[Setup]:
        """Setups of other sizes, where the first ones raised no error or take no inputs whose shapes could vary."""
        silent = self.sources.flagged.difference(*(setup.met for setup in setups))
        if self.job.expected != "view":  # that is for the dtype, or for the device
            silent = frozenset()
        wanted = 0 if setups[0].specs else NEEDED - len(setups)
        found: list[Setup] = []
        if silent or wanted > 0:
            for setup in search.elsewhere(setups[0], min(self.deadline, time.monotonic() + _ELSEWHERE)):
                if setup.met & silent or len(found) < wanted:
                    found.append(setup)
                    silent -= setup.met
                if not silent and len(found) >= wanted:
                    break
        return found

    def _meaning(self) -> contextlib.AbstractContextManager[None]:
        """The context in which before does what it means: the repaired relation's oracle, or nothing."""
        if self.job.relation == "repaired":
            at = self.sources
            return intentions.intended(self.job.expected, at.before.pseudo, at.flagged, self.met_now)
        return contextlib.nullcontext()

    def _try_setup(
        self,
        setup: Setup,
        device: str,
        dtypes: tuple[torch.dtype, ...] | None = None,
        shapes: int = _SHAPES,
    ) -> None:
        self.tell(f"before: building {setup.target}")
        pair = build_pair(self.sources, setup, self._meaning, self.tell)
        self.record.moved |= pair.moved
        signature = targets.signature_of(pair.before)
        self.tell("before: choosing input shapes")
        assignments = workable(setup, pair.before, self._meaning, signature, shapes)
        overflows = self.job.relation == "repaired" and self.job.expected == "half overflow"
        for dtype in dtypes or ((*DTYPES["cpu"], torch.float16) if overflows and device == "cpu" else DTYPES[device]):
            try:
                pair.before.to(device=device, dtype=dtype)
                pair.after.to(device=device, dtype=dtype)
            except RuntimeError as error:
                note = Noting(self.record, trial.Conditions(device, dtype, False, 0), ())
                note("skipped", None, f"moving the module raised {imports.in_one_line(error)}")
                continue
            copies = Pristine(pair.before, careful=True), Pristine(pair.after, careful=True)
            for training in (True, False):
                for count, assignment in enumerate(assignments):
                    if time.monotonic() > self.deadline:
                        raise TimeoutError
                    conditions = trial.Conditions(device, dtype, training, seed=1000 + 17 * count)
                    positional = trial.positional_only(signature)
                    self._trial(setup, pair, copies, assignment, conditions, positional, count == 0)
            if device == "cpu" and dtype == torch.float32 and assignments and not dtypes and self.level != "region":
                self._try_uses(setup, pair, assignments)

    def _try_uses(self, setup: Setup, pair: Pair, assignments: list[Assignment]) -> None:
        """Few calls as others may make them: without gradients, by place, and many of one copy."""
        self.tell(f"after: {setup.target} called again")
        used = uses.Uses(setup, pair, assignments, self._meaning, self.job.relation)
        found = used.difference() or self._misapplied(pair, used)
        if found is None:
            return
        words, conditions, assignment = found
        inspected = setup.inspected
        inputs = trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)
        note = Noting(self.record, conditions, inputs.shapes)
        note("differ", None, words)
        raise Refuted(note.counterexample(words))

    def _misapplied(self, pair: Pair, used: uses.Uses) -> tuple[str, trial.Conditions, Assignment] | None:
        """What a projection that is gained, or newly applied, does wrong with weights other than the identity."""
        names = (*self.job.added, *self.job.identity)
        if self.job.relation != "extended":
            return None
        for training, learns in ((True, True), (False, True), (False, False)):
            run = used.ran(training, learns)
            words = projected.misapplied(pair.before, pair.after, owners_of(self.sources), names, run)
            if words:
                return words, uses.conditions(training=training), used.assignments[0]
        return None

    def _trial(
        self,
        setup: Setup,
        pair: Pair,
        copies: tuple[Pristine, Pristine],
        assignment: Assignment,
        conditions: trial.Conditions,
        positional: tuple[str, ...],
        first: bool,
    ) -> None:
        sources, inspected = self.sources, setup.inspected

        def make() -> trial.Inputs:
            return trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

        where = f"{setup.target} on {conditions.device}"
        shapes = make().shapes or tuple(
            f"{name}: {tuple(value.shape)}" for name, value in pair.before.named_parameters()
        )
        note = Noting(self.record, conditions, shapes)
        self.met_now.clear()
        with watch(sources.before.pseudo, sources.after.pseudo) as rows:
            self.tell(f"before: {where}")
            plain = trial.run(copies[0], make, positional, conditions)
            before = plain
            if plain.error is not None and self._is_expected(plain.error):
                before = trial.run(copies[0], make, positional, conditions, self._meaning())
            self.tell(f"after: {where}")
            after = trial.run(copies[1], make, positional, conditions)
        ran_before = pair.ran_before | ran(sources.changed_before, rows, sources.before)
        ran_after = pair.ran_after | ran(sources.changed_after, rows, sources.after)
        wide = conditions.dtype == torch.float64 and not conditions.default
        if before.error is not None and after.error is not None and wide:
            # Perhaps it makes tensors of the default dtype.
            self._trial(setup, pair, copies, assignment, replace(conditions, default=True), positional, first)
            return
        if before.error is not None or after.error is not None:
            note.errors(before.error, after.error)
            return
        difference = trial.compare(before, after, pair.new, pair.applied)
        rounded = ""
        copied = difference.difference and self._equals_copied(pair, after, make, positional, conditions)
        differs = difference.difference and not copied
        repeats = 3 if differs else 1 if first else 0  # chance must not pass for a counterexample
        for _ in range(repeats):
            again = trial.run(pair.before, make, positional, conditions, self._meaning())
            if again.error is not None or trial.compare(before, again, frozenset()).difference:
                note("skipped", None, "before is not reproducible: two runs with the same seed differ")
                return
        if differs and self.job.relation == "equivalent":
            rounded = rounding.excuse(setup, pair.before, assignment, conditions, before, after)
        if differs and not rounded:
            note("differ", difference.largest, difference.difference)
            raise Refuted(note.counterexample(difference.difference))
        if why := trial.handed_on(before, after, self.job.relation) if self.level != "region" else "":
            note("differ", difference.largest, why)
            raise Refuted(note.counterexample(why))
        _check_gradients_reach(pair, before, after, note)
        if not trial.says_something(before, "input " if setup.specs else "") and not depends_on_inputs(
            pair.before, setup, assignment, conditions, positional, self._meaning
        ):
            note("skipped", None, "the outputs are not finite, or do not depend on the inputs")
            return
        if self.level == "region" and (apart := trial.laid_apart(before, after)):
            note("skipped", difference.largest, apart)
            if self.job.relation == "equivalent":  # code after it could tell
                raise Refuted(note.counterexample(apart))
            return
        if missed := sources.missed(ran_before, ran_after):
            note("not covered", difference.largest, missed)
            return
        self.record.ran_before |= ran_before
        self.record.ran_after |= ran_after
        self.record.met |= self.met_now
        self.record.apart |= bool(copied or rounded)
        self.record.rounded |= bool(rounded)
        raised = "before raised at the flagged line" if self.met_now else ""
        default = "with float64 as the default dtype" if conditions.default else ""
        apart = f"equal to before on contiguous copies; with its own strides {difference.difference}" if copied else ""
        note("agree", difference.largest, "; ".join(filter(None, (raised, default, apart, rounded))))

    def _equals_copied(
        self,
        pair: Pair,
        after: trial.Seen,
        make: Callable[[], trial.Inputs],
        positional: tuple[str, ...],
        conditions: trial.Conditions,
    ) -> bool:
        """Whether after equals, to the last bit, before with contiguous copies under the flagged views.

        Where somebody writes into what such a view shares, the copy has another meaning, and this one does not count.
        """
        if self.job.relation != "repaired" or self.job.expected != "view":
            return False
        copies = holding.Copies()
        meaning = holding.copied_views(self.sources.before.pseudo, self.sources.flagged, copies)
        seen = trial.run(pair.before, make, positional, conditions, meaning)
        return seen.error is None and copies.stand_apart() and not trial.compare(seen, after, pair.new).difference

    def _is_expected(self, error: BaseException) -> bool:
        """Whether this is the error that a repair is about, raised where it was flagged."""
        at = self.sources
        return self.job.relation == "repaired" and intentions.raises_expected(
            self.job.expected, error, at.before.pseudo, at.flagged
        )

    def _finish(self, verdict: VerdictName, reason: str) -> Verdict:
        if verdict == "validated" and self.record.moved:
            reason += "; the new parameters do not start at the identity and were put there"
        bitwise = bool(self.record.agreeing()) and not self.record.apart
        found = verdict_of(verdict, self.devices, self.level, reason, tuple(self.record.trials), bitwise)
        unseen = verdict == "validated" and error_out_of_reach(self.job, self.devices)
        return replace(found, caveat=UNSEEN) if unseen else found


def _check_gradients_reach(pair: Pair, before: trial.Seen, after: trial.Seen, note: Noting) -> None:
    """Raise Refuted where new parameters, or newly applied ones, would never learn."""
    gradients, earlier = dict(after.gradients), dict(before.gradients)
    for name in sorted(pair.applied):
        if earlier.get(f"gradient of {name}") is not None:
            detail = f"before applies {name} already"
            note("differ", None, detail)
            raise Refuted(note.counterexample(detail))
    for name in sorted(pair.gained | pair.applied):
        gradient = gradients.get(f"gradient of {name}")
        if gradient is None or not bool((gradient != 0).any()):
            detail = f"no gradient reaches {name}"
            note("differ", None, detail)
            raise Refuted(note.counterexample(detail))
