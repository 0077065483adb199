"""Runs one job inside the isolated child: load both texts, find a way to run them, hold them against each other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import torch
from msgspec.structs import replace

from mha_lint.findings import RAISES, Verdict, VerdictName
from mha_lint.validation.child import imports, isolation, stubs, tampering, torch_settings
from mha_lint.validation.job import Job
from mha_lint.validation.relations import intentions, wrong
from mha_lint.validation.relations.claim import Claim, Extra, Ran, Variant
from mha_lint.validation.relations.corrected import Corrected
from mha_lint.validation.relations.raising import Raising
from mha_lint.validation.relations.same import Same
from mha_lint.validation.search import harness
from mha_lint.validation.search.added import reaching_added
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.setups import Setup, workable
from mha_lint.validation.search.specs import Assignment, Constant
from mha_lint.validation.trials import also, drawing, dropouts, regions, trial
from mha_lint.validation.trials.case import Case, Tried
from mha_lint.validation.trials.coverage import Rows, watch
from mha_lint.validation.trials.pairing import AfterBroken, Pair, Refuted, Sources, build_pair, load_sources, ran
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import Noting, Record, shortfall, unreached, verdict_of

_SHAPES = 6  # input shapes a configuration is run with, where the module takes that many
_SETUPS = 4
_BEFORE = 4  # statements before the changed ones that may be run with them
_REGION = 8.0  # seconds for them


def examine(
    job: Job,
    devices: dict[str, str],
    deadline: float,
    tell: Callable[[str], None],
    known: list[Setup] | None = None,
) -> Verdict:
    """The verdict on ``job`` for these devices. ``tell`` announces what is about to run, lest it kill this process.

    ``known`` are ways in which other texts of the same file were run; those of this one join them.
    """
    known = [] if known is None else known
    stubs.disarm()
    torch_settings.make_deterministic()
    originals = tampering.earliest()
    if job.also and not tampering.replaced(originals):
        also.prepare()
        originals = tampering.snapshot()
    if job.relation == "wrong":
        verdict = wrong.shown(job, devices, deadline, tell)
    else:
        verdict = _whole(job, devices, deadline, tell, originals, known)
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
    job: Job,
    devices: dict[str, str],
    deadline: float,
    tell: Callable[[str], None],
    originals: tampering.Snapshot,
    known: list[Setup],
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
    verdict = Examination(sources, devices, deadline, tell, known=known).verdict()
    if verdict.verdict == "not exercised" and not _has_run(verdict) and RAISES in job.probes:
        return Raising(sources, devices, deadline, tell).verdict() or verdict
    return verdict


def _has_run(verdict: Verdict) -> bool:
    """Tell whether before ran in some trial."""
    return any(item.outcome != "skipped" for item in verdict.trials)


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
    return Examination(sources, devices, deadline, tell, alone=True).verdict()


def _untrusted(what: str, devices: dict[str, str]) -> Verdict:
    return verdict_of("not exercised", devices, reason=f"{what}: what it computes can't be trusted here")


class Examination:
    """One job: ways to run both texts are found, and what each trial shows is for the job's relation to judge.

    With ``alone``, the texts are the changed statements alone.
    """

    def __init__(
        self,
        sources: Sources,
        devices: dict[str, str],
        deadline: float,
        tell: Callable[[str], None],
        *,
        alone: bool = False,
        known: list[Setup] | None = None,
    ) -> None:
        self.sources = sources
        self.job = sources.job
        self.devices = devices
        self.deadline = deadline
        self.tell = tell
        self.alone = alone
        self.known = [] if known is None else known
        self.record = Record()
        self.claim: Claim = (
            Corrected(sources, self.record, devices)
            if sources.job.relation == "corrected"
            else Same(sources, self.record, devices, alone)
        )
        self.level = ""
        self.described: list[str] = []

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        search = self._search()
        setups = self._setups(search)
        if not setups:
            return unreached(search, self.job, self.devices)
        self.described = [setup.describe() for setup in setups]
        self.level = "region" if self.alone else setups[0].level
        reason, in_time = "", True
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                for setup in setups:
                    self._try_setup(Extra(setup), device)
                self._try_elsewhere(search, setups[0], device)
            self._try_added(search)
            reason = self.claim.lacking() or shortfall(self.record, self.sources, self.devices)
            for kind in self.job.also if not reason else ():  # it makes up for nothing that is lacking
                self.described.append(self._also(kind, setups[0]))
        except Refuted as error:
            return self._finish("refuted", str(error))
        except TimeoutError:  # what was not seen by then may still be there
            reason, in_time = f"time ran out after {len(self.record.trials)} trials", False
        if reason:
            return self._finish("not exercised", reason, in_time=in_time)
        return self._finish("validated", "; ".join(self.described))

    def _search(self) -> harness.Search:
        left = self.deadline - time.monotonic()
        budget = now() + min(10.0, 0.4 * left)
        return harness.Search(
            self.sources.before,
            self.sources.wanted,
            self.claim.meaning,
            self.job.hints,
            budget,
            self.claim.met,
            declared=self.job.declared,
            as_handed=self.claim.as_handed,
            known=tuple(self.known),
        )

    def _setups(self, search: harness.Search) -> list[Setup]:
        found = search.find(self.job.symbols)[:_SETUPS]
        self.known += [setup for setup in found if setup not in self.known and setup.can_be_used_again]
        if self.alone:  # a constant in place of what the code computes may hide what it means
            found = [each for each in found if not any(isinstance(spec, Constant) for spec in each.specs.values())]
        return [*found, *self.claim.further(search, found)]

    def _try_elsewhere(self, search: harness.Search, setup: Setup, device: str) -> None:
        for extra in self.claim.elsewhere(search, setup, device):
            try:
                self._try_setup(extra, device)
            except TimeoutError:
                if extra.needed:
                    raise
                return

    def _try_added(self, search: harness.Search) -> None:
        """Few trials of what only the text after has, where no trial has run it yet."""
        missing = self.sources.changed_after - self.record.ran_after
        if self.alone:
            return
        for setup in reaching_added(self.sources, missing, search):
            self.described.append(setup.describe())
            self._try_setup(Extra(setup, (torch.float32,), shapes=2), "cpu")

    def _try_setup(self, extra: Extra, device: str) -> None:
        self.tell(f"before: building {extra.setup.target}")
        for variant in self.claim.variants(extra.setup, device):
            at_rate = variant if extra.rate is None else replace(variant, rate=extra.rate)
            self._try_variant(at_rate, extra, device)

    def _try_variant(self, variant: Variant, extra: Extra, device: str) -> None:
        """The trials of one variant; each pair of a shape, a dtype and a mode occurs in some trial."""
        setup = variant.setup
        pair = build_pair(self.sources, setup, self.claim.meaning, self.tell)
        self.record.moved |= pair.moved
        if variant.rate is not None:
            for module in (pair.before, pair.after):
                dropouts.set_rate(module, variant.rate, setup.plan)
        self.tell("before: choosing input shapes")
        found = workable(setup, pair.before, self.claim.meaning, pair.signature, extra.shapes or _SHAPES)
        self.tell("after: choosing input shapes")
        assignments = self.claim.assignments(variant, pair, found)
        dtypes = extra.dtypes or self.claim.dtypes(device)
        for place, dtype in enumerate(dtypes):
            if not self._moved(pair, device, dtype):
                continue
            copies = Pristine(pair.before, careful=True), Pristine(pair.after, careful=True)
            chosen = _chosen(len(assignments), len(dtypes), place)
            for (training, count), kernel in itertools.product(chosen, extra.kernels):
                if time.monotonic() > self.deadline:
                    raise TimeoutError
                conditions = drawing.Conditions(device, dtype, training, seed=1000 + 17 * count, kernel=kernel)
                case = Case(setup, pair, copies, assignments[count], conditions, variant.regime)
                first = count < len(dtypes)
                self._trial(case, first=first)
                if first and dtype == torch.float32 and self.sources.job.expected == "half overflow":
                    self._trial(case.under_autocast(), first=first)  # what is cast to float32 is half there alone
            if dtype == torch.float32 and assignments and not extra.dtypes:
                self._try_uses(variant, pair, assignments, device)
        self.claim.end(variant)

    def _moved(self, pair: Pair, device: str, dtype: torch.dtype) -> bool:
        """Move both modules; False where they can't be."""
        try:
            pair.before.to(device=device, dtype=dtype)
            pair.after.to(device=device, dtype=dtype)
        except RuntimeError as error:
            note = Noting(self.record, drawing.Conditions(device, dtype, False, 0), ())
            note("skipped", None, f"moving the module raised {imports.in_one_line(error)}")
            return False
        return True

    def _try_uses(self, variant: Variant, pair: Pair, assignments: list[Assignment], device: str) -> None:
        self.tell(f"after: {variant.setup.target} called again")
        found = self.claim.misused(variant, pair, assignments, device)
        if found is None:
            return
        words, conditions, assignment = found
        copies = Pristine(pair.before), Pristine(pair.after)
        case = Case(variant.setup, pair, copies, assignment, conditions)
        Noting(self.record, conditions, case.shapes()).refute(words)

    def _trial(self, case: Case, *, first: bool) -> None:
        case = self.claim.prepared(case, self.tell)
        note = Noting(self.record, case.conditions, case.shapes())
        with watch(self.sources.before.pseudo, self.sources.after.pseudo) as rows:
            before, after = self.claim.execute(case, self.tell)
        at = case.conditions
        if before.error is not None and after.error is not None and at.dtype == torch.float64:
            if not at.default:
                self._trial(case.with_default_dtype(), first=first)  # perhaps it makes tensors of the default dtype
                return
            if not at.widened and self.sources.job.relation == "equivalent":
                self._trial(case.without_casts(), first=first)  # perhaps it casts to float32 what meets float64
                return
        is_equivalent = self.sources.job.relation == "equivalent"
        if is_equivalent and case.way.backward and intentions.forbids_gradients(before.error):
            self._trial(case.forward_alone(), first=first)  # nobody trains it so, but its results are to stay
            return
        if before.error is not None or after.error is not None:
            self.claim.errors(note, before.error, after.error)
            return
        comparison = trial.compare(before, after, case.pair.new, case.pair.applied)
        ran_in_it = self._that_ran(case.pair, rows)
        shown = self.claim.judge(Tried(case, note, before, after, comparison, first), ran_in_it)
        detail = shown.detail
        if shown.outcome == "agree":
            self.record.ran_before |= ran_in_it.before
            self.record.ran_after |= ran_in_it.after
            self.record.met |= shown.met
            self.record.apart |= shown.apart
            self.record.rounded |= shown.rounded
            default = "with float64 as the default dtype" if case.conditions.default else ""
            kernel = f"by attention's {case.conditions.kernel} kernel" if case.conditions.kernel else ""
            widened = "with no cast to float32 on the way" if case.conditions.widened else ""
            forward = "" if case.way.backward else "forward alone: before can't go backward"
            detail = "; ".join(filter(None, (kernel, detail, default, widened, forward)))
        note(shown.outcome, comparison.largest, detail)

    def _that_ran(self, pair: Pair, rows: Rows) -> Ran:
        at = self.sources
        return Ran(
            pair.ran_before | ran(at.changed_before, rows, at.before),
            pair.ran_after | ran(at.changed_after, rows, at.after),
            pair.ran_flagged | ran(at.flagged, rows, at.before),
        )

    def _also(self, kind: str, setup: Setup) -> str:
        """One run of what must go on working, on the CPU in float32 and eval mode; in words, whether it does."""
        pair = build_pair(self.sources, setup, self.claim.meaning, self.tell)
        conditions = drawing.Conditions("cpu", torch.float32, training=False, seed=1000)
        copies = Pristine(pair.before), Pristine(pair.after)
        case = Case(setup, pair, copies, setup.assignments[0], conditions)
        note = Noting(self.record, conditions, case.shapes())
        self.tell(f"before: torch.{kind}")
        before, why = also.run(kind, pair.before, case.make(), case.positional)
        self.tell(f"after: torch.{kind}")
        after, broken = also.run(kind, pair.after, case.make(), case.positional)
        if before.error is not None:
            other = "neither does after" if broken else "after does"
            note("skipped", None, f"torch.{kind}: before does not work ({why}), {other}")
            return f"torch.{kind} did not work before"
        if broken:
            note.refute(f"torch.{kind}: only after raises {broken}")
        largest = None
        if self.claim.results_stay:
            comparison = trial.compare(before, after, pair.new, pair.applied)
            largest = comparison.largest
            if comparison.difference:
                note.refute(f"torch.{kind}: {comparison.difference}", largest)
        note("agree", largest, f"torch.{kind}")
        return f"torch.{kind} works as before"

    def _finish(self, verdict: VerdictName, reason: str, *, in_time: bool = True) -> Verdict:
        bitwise = bool(self.record.agreeing()) and not self.record.apart
        found = verdict_of(verdict, self.devices, self.level, reason, tuple(self.record.trials), bitwise)
        return self.claim.finish(found, in_time=in_time)


def _chosen(shapes: int, dtypes: int, dtype: int) -> Iterator[tuple[bool, int]]:
    """The modes and the places of shapes that are tried in the dtype at one place of so many.

    Not every shape meets every dtype in every mode: with two dtypes, each two of the three meet, in half as many
    trials. Of few shapes all are tried.
    """
    for training, count in itertools.product((True, False), range(shapes)):
        if shapes < 2 * dtypes or (count - training) % dtypes == dtype:
            yield training, count
