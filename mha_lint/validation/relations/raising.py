"""Show that before never runs: it raises for all that after takes, and after computes something of it.

Both texts are the same but for the change, so that what raises, wherever it does, raises for want of the change. A way
to run them can be found with after alone. Where before runs with some sizes, nothing is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.findings import Verdict, VerdictName
from mha_lint.validation.child import imports, isolation, stubs
from mha_lint.validation.search import harness, targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.setups import Setup, as_it_is, depends_on_inputs, materialise, workable
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.case import Case
from mha_lint.validation.trials.coverage import Statement, watch
from mha_lint.validation.trials.pairing import Pair, Refuted, Sources, build_pair, ran
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.record import DTYPES, NEEDED, Noting, Record, verdict_of

_BUDGET = 6.0  # seconds for the search
_SETUPS, _SHAPES = 2, 6
_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)
_NOT_OURS = (stubs.StubTouched, isolation.Refused, MemoryError)


class _Runs(Exception):
    """Before runs, which is told in words."""


class Raising(Struct):
    """The attempt to show that before raises where after does not, on each device."""

    sources: Sources
    devices: dict[str, str]
    deadline: float
    tell: Callable[[str], None]
    record: Record = field(default_factory=Record)
    counterexample: str = ""

    def verdict(self) -> Verdict | None:
        """The verdict; None where after does not run either, or before does."""
        self.tell("the search for a way to run it after the change")
        setups = self._setups()
        if not setups:
            return None
        try:
            for device in sorted(self.devices):
                for setup in setups:
                    self._try(setup, device)
        except (_Runs, TimeoutError):
            return None
        except Refuted as error:
            return self._ended("refuted", setups, str(error))
        if self._falls_short():
            return None
        described = "; ".join(setup.describe() for setup in setups)
        return self._ended("validated", setups, f"before raises whatever it is given: {described}")

    def _setups(self) -> list[Setup]:
        """Ways to run all that changed in after."""
        at = self.sources
        wanted = at.changed_after - at.ran_after
        if not wanted:
            return []
        search = harness.Search(
            at.after, wanted, as_it_is, at.job.hints, now() + _BUDGET, declared=at.job.declared, as_handed=True
        )
        setups = search.find(at.job.symbols)[:_SETUPS]
        covered = frozenset[Statement]().union(*(setup.covered for setup in setups))
        return setups if covered >= wanted else []

    def _ended(self, name: VerdictName, setups: list[Setup], reason: str) -> Verdict:
        found = verdict_of(name, self.devices, setups[0].level, reason, tuple(self.record.trials))
        return replace(found, counterexample=self.counterexample)

    def _falls_short(self) -> bool:
        """Tell whether too few sizes were tried on a device, or before was never seen to raise."""
        for device in self.devices:
            shapes = {item.shapes for item in self.record.agreeing(device)}
            if len(shapes) < NEEDED:
                return True
        return not self.counterexample

    def _try(self, setup: Setup, device: str) -> None:
        failure = self._unbuilt(setup)
        pair = build_pair(self.sources, setup, as_it_is, self.tell) if failure is None else self._of_after_alone(setup)
        accepted = workable(setup, pair.after, as_it_is, pair.signature, _SHAPES)
        for dtype in DTYPES[device][:2]:
            pair.before.to(device=device, dtype=dtype)
            pair.after.to(device=device, dtype=dtype)
            copies = Pristine(pair.before, careful=True), Pristine(pair.after, careful=True)
            for count, assignment in enumerate(accepted):
                if time.monotonic() > self.deadline:
                    raise TimeoutError
                training = bool(count % 2)
                conditions = drawing.Conditions(device, dtype, training, seed=1000 + 17 * count)
                self._trial(Case(setup, pair, copies, assignment, conditions), failure)

    def _unbuilt(self, setup: Setup) -> BaseException | None:
        """What building before raises, where its constructor runs the flagged statement; None where it is built."""
        self.tell(f"before: building {setup.target}")
        try:
            targets.instantiate(setup.target, setup.plan, self.sources.before.module, seed=7)
        except (Exception, stubs.StubTouched) as error:
            if not _is_failure(error):
                raise _Runs from error
            return error
        return None

    def _of_after_alone(self, setup: Setup) -> Pair:
        """The module of after, in the place of before as well."""
        self.tell(f"after: building {setup.target}")
        with watch(self.sources.after.pseudo) as rows:
            after = targets.instantiate(setup.target, setup.plan, self.sources.after.module, seed=7)
        materialise(after, setup, as_it_is)
        trial.randomise(after, seed=11)
        nothing: frozenset[str] = frozenset()
        ran_after = ran(self.sources.changed_after, rows, self.sources.after)
        signature = targets.signature_of(after)
        return Pair(
            after, after, nothing, nothing, nothing, frozenset(), ran_after, frozenset(), moved=False,
            signature=signature,
        )  # fmt: skip

    def _trial(self, case: Case, failure: BaseException | None) -> None:
        """Raise _Runs where before runs, Refuted where after does not give the same twice."""
        note = Noting(self.record, case.conditions, case.shapes())
        if failure is None:
            self.tell(f"before: {case.setup.target} on {case.conditions.device}")
            failure = trial.run(case.copies[0], case.make, case.positional, case.conditions).error
        if failure is None or not _is_failure(failure):
            raise _Runs
        self.tell(f"after: {case.setup.target} on {case.conditions.device}")
        with watch(self.sources.after.pseudo) as rows:
            after = trial.run(case.copies[1], case.make, case.positional, case.conditions)
        if after.error is not None:
            note("skipped", None, "after does not run either")
            return
        has_run = case.pair.ran_after | ran(self.sources.changed_after, rows, self.sources.after)
        if not has_run or not _computes(case, case.pair, after):
            note("skipped", None, "after computes nothing of what it is given")
            return
        again = trial.run(case.copies[1], case.make, case.positional, case.conditions)
        if again.error is not None or trial.compare(after, again, frozenset()).difference:
            note.refute("after is not reproducible: two runs with the same seed differ")
        words = f"it raises {imports.in_one_line(failure)}"
        self.counterexample = self.counterexample or note.counterexample(words)
        note("agree", None, f"before: {words}; after runs")


def _is_failure(error: BaseException) -> bool:
    """Tell whether the code itself raises it."""
    return isinstance(error, _FAILURES) and not isinstance(error, _NOT_OURS)


def _computes(case: Case, pair: Pair, seen: trial.Seen) -> bool:
    """Tell whether what after gives is finite somewhere, and depends on its inputs."""
    if trial.says_something(seen, "input " if case.setup.specs else ""):
        return True
    return depends_on_inputs(pair.after, case.setup, case.assignment, case.conditions, case.positional, as_it_is)
