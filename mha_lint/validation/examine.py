"""Runs one job inside the isolated child: load both texts, find a way to run them, hold them against each other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mha_lint.findings import Trial, Verdict, VerdictName
from mha_lint.validation import harness, imports, isolation, relations, stubs, trial
from mha_lint.validation.construct import without_dropout
from mha_lint.validation.coverage import Statement, changed_statements, statements_at, watch
from mha_lint.validation.inputs import Assignment
from mha_lint.validation.job import Job

_DTYPES = {
    "cpu": (torch.float32, torch.float64),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}
_SHAPES = 6  # input shapes a configuration is run with, where the module takes that many
_NEEDED = 4  # distinct input shapes that a verdict needs on each device
_SETUPS = 4
_ELSEWHERE = 3.0  # seconds for sizes other than the first that ran


@dataclass(slots=True)
class Record:
    """What the trials have shown so far."""

    trials: list[Trial] = field(default_factory=list)
    ran_before: set[Statement] = field(default_factory=set)
    ran_after: set[Statement] = field(default_factory=set)
    met: set[Statement] = field(default_factory=set)  # flagged statements at which before was seen to raise
    apart: bool = False  # an agreeing trial differed from plain before, in the layout's rounding alone
    moved: bool = False  # new parameters did not start at the identity and were put there


def examine(job: Job, devices: dict[str, str], deadline: float, tell: Callable[[str], None]) -> Verdict:
    """The verdict on ``job`` for these devices. ``tell`` announces what is about to run, lest it kill this process."""
    _make_deterministic()
    tell("the import of the file")
    place = imports.place_of(job.path)
    try:
        loaded, loaded_rows = _load_both(place, job)
    except imports.CannotLoad as error:
        return _verdict("not exercised", devices, reason=str(error))
    except _AfterBroken as error:
        return _verdict("refuted", devices, reason=str(error))
    stubs.arm()
    return _Examination(job, devices, deadline, tell, loaded, loaded_rows).verdict()


class _AfterBroken(Exception):
    """Only the text after cannot be imported."""


def _make_deterministic() -> None:
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("warn")  # the same setting, without importing the compiler stack
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def _load_both(
    place: imports.Place, job: Job
) -> tuple[tuple[imports.Loaded, imports.Loaded], tuple[set[int], set[int]]]:
    failure: imports.CannotLoad | None = None
    for lazily in (True, False) if place.packages else (True,):
        try:
            with contextlib.ExitStack() as stack:
                rows = stack.enter_context(watch(f"{place.path}#before", f"{place.path}#after"))
                try:
                    imports.prepare(place, lazily=lazily)
                    before = imports.load(place, "before", job.before)
                except stubs.StubTouched as error:
                    raise imports.CannotLoad(f"importing the file needs more than a stand-in: {error}") from error
                except imports.CannotLoad:
                    raise
                except Exception as error:
                    raise imports.CannotLoad(f"importing its package raised {imports.in_one_line(error)}") from error
                try:
                    after = imports.load(place, "after", job.after)
                except (imports.CannotLoad, stubs.StubTouched) as error:
                    imports.load(place, "before", job.before)  # some files cannot be imported twice: CannotLoad then
                    raise _AfterBroken(str(error)) from error
            return (before, after), (rows.of(before.pseudo), rows.of(after.pseudo))
        except imports.CannotLoad as error:
            failure = failure or error
            imports.forget(place)
    assert failure is not None
    raise failure


@dataclass(slots=True)
class _Pair:
    """The module of both texts, built alike, with the same weights. ``gained`` are the names only after has."""

    before: Any
    after: Any
    gained: frozenset[str]
    applied: frozenset[str]  # names at the identity in both, which only after uses
    ran_before: frozenset[Statement]  # changed statements that building and importing ran
    ran_after: frozenset[Statement]


class _Refuted(Exception):
    """A counterexample, in words."""


class _Examination:
    def __init__(
        self,
        job: Job,
        devices: dict[str, str],
        deadline: float,
        tell: Callable[[str], None],
        loaded: tuple[imports.Loaded, imports.Loaded],
        loaded_rows: tuple[set[int], set[int]],
    ) -> None:
        self.job = job
        self.devices = devices
        self.deadline = deadline
        self.tell = tell
        self.before, self.after = loaded
        self.changed_before, self.changed_after = changed_statements(job.before, job.after)
        self.loaded_before = frozenset(item for item in self.changed_before if item.ran(loaded_rows[0]))
        self.loaded_after = frozenset(item for item in self.changed_after if item.ran(loaded_rows[1]))
        self.flagged = statements_at(job.before, set(job.flagged)) if job.relation == "repaired" else frozenset()
        self.record = Record()
        self.met_now: set[Statement] = set()
        self.level = "module"
        self.described: list[str] = []

    def verdict(self) -> Verdict:
        self.tell("the search for a way to run it")
        wanted = (self.changed_before | self.flagged) - self.loaded_before
        budget = min(self.deadline, time.monotonic() + min(10.0, 0.4 * (self.deadline - time.monotonic())))
        search = harness.Search(self.before, wanted, self._meaning, self.job.hints, budget, self.met_now)
        setups = search.find(self.job.symbols)[:_SETUPS]
        if not setups:
            reason = "no way was found to run the changed lines"
            if search.missing_package:
                reason += f": {search.missing_package}"
            elif search.ran_without_reaching:
                reason += f": they did not run in {search.ran_without_reaching}"
            elif search.last_error:
                reason += f"; the last attempt: {search.last_error}"
            return _verdict("not exercised", self.devices, reason=reason)
        setups += self._other_sizes(search, setups)
        self.described = [setup.describe() for setup in setups]
        self.level = "module" if setups[0].target.is_class else "function"
        reason = ""
        try:
            for device in sorted(self.devices):
                if device == "cuda":
                    isolation.release_memory()
                for setup in setups:
                    self._try_setup(setup, device)
                    if not any(item.outcome == "agree" and item.mode == "train" for item in self._on(device)):
                        self._try_setup(replace(setup, plan=without_dropout(setup.plan)), device)
        except _Refuted as error:
            return self._finish("refuted", str(error))
        except TimeoutError:
            reason = f"time ran out after {len(self.record.trials)} trials"
        reason = reason or self._shortfall()
        return self._finish("not exercised", reason) if reason else self._finish("validated", "; ".join(self.described))

    def _other_sizes(self, search: harness.Search, setups: list[harness.Setup]) -> list[harness.Setup]:
        """Setups of other sizes, where the first ones raised no error or take no inputs whose shapes could vary."""
        silent = self.flagged.difference(*(setup.met for setup in setups))
        wanted = 0 if setups[0].specs else _NEEDED - len(setups)
        found: list[harness.Setup] = []
        if silent or wanted > 0:
            for setup in search.elsewhere(setups[0], min(self.deadline, time.monotonic() + _ELSEWHERE)):
                if setup.met & silent or len(found) < wanted:
                    found.append(setup)
                    silent -= setup.met
                if not silent and len(found) >= wanted:
                    break
        return found

    def _on(self, device: str) -> list[Trial]:
        return [item for item in self.record.trials if item.device == device]

    def _meaning(self) -> contextlib.AbstractContextManager[None]:
        """The context in which before does what it means: the repaired relation's oracle, or nothing."""
        if self.job.relation == "repaired":
            return relations.intended_views(self.before.pseudo, self.flagged, self.met_now)
        return contextlib.nullcontext()

    def _try_setup(self, setup: harness.Setup, device: str) -> None:
        self.tell(f"before: building {setup.target.name}")
        pair = self._pair(setup)
        signature = harness.signature_of(pair.before)
        self.tell("before: choosing input shapes")
        assignments = harness.workable(setup, pair.before, self._meaning, signature, _SHAPES)
        for dtype in _DTYPES[device]:
            try:
                pair.before.to(device=device, dtype=dtype)
                pair.after.to(device=device, dtype=dtype)
            except RuntimeError as error:
                self._note(
                    device, dtype, False, (), "skipped", 0, f"moving the module raised {imports.in_one_line(error)}"
                )
                continue
            for training in (True, False):
                for count, assignment in enumerate(assignments):
                    if time.monotonic() > self.deadline:
                        raise TimeoutError
                    conditions = trial.Conditions(device, dtype, training, seed=1000 + 17 * count)
                    self._trial(setup, pair, assignment, conditions, trial.positional_only(signature), count == 0)

    def _pair(self, setup: harness.Setup) -> _Pair:
        with watch(self.before.pseudo, self.after.pseudo) as rows:
            before = harness.instantiate(setup.target, setup.plan, self.before.module, seed=7)
            harness.materialise(before, setup, self._meaning)
            self.tell(f"after: building {setup.target.name}")
            try:
                after = harness.instantiate(setup.target, setup.plan, self.after.module, seed=7)
                harness.materialise(after, setup, contextlib.nullcontext)
            except (Exception, stubs.StubTouched) as error:
                raise _Refuted(
                    f"building {setup.describe()} raised only after: {imports.in_one_line(error)}"
                ) from error
        gained, applied = self._announced(before, after)
        trial.randomise(before, seed=11)
        outcome = after.load_state_dict(before.state_dict(), strict=not gained)
        if gained and (set(outcome.missing_keys) != gained or outcome.unexpected_keys):
            raise _Refuted(f"an old checkpoint misses {sorted(outcome.missing_keys)}, expected {sorted(gained)}")
        relations.put_at_identity(before, applied)
        relations.put_at_identity(after, applied)
        self.record.moved |= not relations.put_at_identity(after, gained)
        return _Pair(
            before,
            after,
            gained,
            applied,
            self.loaded_before | {item for item in self.changed_before if item.ran(rows.of(self.before.pseudo))},
            self.loaded_after | {item for item in self.changed_after if item.ran(rows.of(self.after.pseudo))},
        )

    def _announced(self, before: Any, after: Any) -> tuple[frozenset[str], frozenset[str]]:
        """Compare the ``state_dict`` of both; what after has more must be exactly what was announced.

        The names gained, and those that only after applies.
        """
        old, new = before.state_dict(), after.state_dict()
        announced: frozenset[str] = frozenset()
        applied: frozenset[str] = frozenset()
        if self.job.relation == "extended":
            names = {harness.owner_of(self.before.module, symbol) or symbol for symbol in self.job.symbols}
            owners = frozenset(names)
            announced = relations.names_within(after, owners, self.job.added)
            applied = relations.names_within(after, owners, self.job.identity)
            if applied - set(new):
                raise _Refuted(f"there is no {', '.join(sorted(applied - set(new)))} to apply")
            if not announced and not applied:
                raise _Refuted(
                    "the rewrite announced no new parameters, or none of the classes that gain them was built"
                )
        if set(new) - set(old) != announced or set(old) - set(new):
            changed = sorted(set(new) ^ set(old) ^ announced)
            raise _Refuted(f"the state_dict changes in {', '.join(changed)}")
        for name, value in old.items():
            if getattr(value, "shape", None) != getattr(new[name], "shape", None):
                raise _Refuted(f"the state_dict entry {name} changes shape")
            if getattr(value, "dtype", None) != getattr(new[name], "dtype", None):
                raise _Refuted(f"the state_dict entry {name} changes dtype")
        return announced, applied

    def _trial(
        self,
        setup: harness.Setup,
        pair: _Pair,
        assignment: Assignment,
        conditions: trial.Conditions,
        positional: tuple[str, ...],
        first: bool,
    ) -> None:
        inspected = setup.inspected

        def make() -> trial.Inputs:
            return trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

        where = f"{setup.target.name} on {conditions.device}"
        shapes = make().shapes or tuple(
            f"{name}: {tuple(value.shape)}" for name, value in pair.before.named_parameters()
        )
        note = _Noting(self, conditions, shapes)
        self.met_now.clear()
        with watch(self.before.pseudo, self.after.pseudo) as rows:
            self.tell(f"before: {where}")
            plain = trial.run(pair.before, make, positional, conditions)
            before = plain
            if plain.error is not None and self._is_expected(plain.error):
                before = trial.run(pair.before, make, positional, conditions, self._meaning())
            self.tell(f"after: {where}")
            after = trial.run(pair.after, make, positional, conditions)
        ran_before = pair.ran_before | {item for item in self.changed_before if item.ran(rows.of(self.before.pseudo))}
        ran_after = pair.ran_after | {item for item in self.changed_after if item.ran(rows.of(self.after.pseudo))}
        if before.error is not None or after.error is not None:
            note.errors(before.error, after.error)
            return
        difference = trial.compare(before, after, pair.gained, pair.applied)
        copied = difference.difference and self._equals_copied(pair, after, make, positional, conditions)
        differs = difference.difference and not copied
        repeats = 3 if differs else 1 if first else 0  # chance must not pass for a counterexample
        for _ in range(repeats):
            again = trial.run(pair.before, make, positional, conditions, self._meaning())
            if again.error is not None or trial.compare(before, again, frozenset()).difference:
                note("skipped", None, "before is not reproducible: two runs with the same seed differ")
                return
        if differs:
            note("differ", difference.largest, difference.difference)
            raise _Refuted(note.counterexample(difference.difference))
        self._check_gradients_reach(pair, before, after, note)
        if not trial.says_something(before, "input " if setup.specs else "") and not _depends_on_inputs(
            pair.before, setup, assignment, conditions, positional
        ):
            note("skipped", None, "the outputs are not finite, or do not depend on the inputs")
            return
        reached_before = ran_before or not self.changed_before
        reached_after = ran_after or not self.changed_after
        if not reached_before or not reached_after:
            note("not covered", difference.largest, "the changed lines did not run")
            return
        self.record.ran_before |= ran_before
        self.record.ran_after |= ran_after
        self.record.met |= self.met_now
        self.record.apart |= bool(copied)
        raised = "before raised at the flagged line" if self.met_now else ""
        apart = f"equal to before on contiguous copies; with its own strides {difference.difference}" if copied else ""
        note("agree", difference.largest, "; ".join(filter(None, (raised, apart))))

    def _equals_copied(
        self,
        pair: _Pair,
        after: trial.Seen,
        make: Callable[[], trial.Inputs],
        positional: tuple[str, ...],
        conditions: trial.Conditions,
    ) -> bool:
        """Whether after equals, to the last bit, before with contiguous copies under the flagged views.

        Where somebody writes into what such a view shares, the copy has another meaning, and this one does not count.
        """
        if self.job.relation != "repaired":
            return False
        copies = relations.Copies()
        meaning = relations.copied_views(self.before.pseudo, self.flagged, copies)
        seen = trial.run(pair.before, make, positional, conditions, meaning)
        return seen.error is None and copies.stand_apart() and not trial.compare(seen, after, pair.gained).difference

    def _is_expected(self, error: BaseException) -> bool:
        """Whether this is the error that a repair is about, raised where it was flagged."""
        if self.job.relation != "repaired" or not relations.is_view_error(error):
            return False
        return relations.raised_at(error, self.before.pseudo, self.flagged) is not None

    def _check_gradients_reach(self, pair: _Pair, before: trial.Seen, after: trial.Seen, note: _Noting) -> None:
        gradients, earlier = dict(after.gradients), dict(before.gradients)
        for name in sorted(pair.applied):
            if earlier.get(f"gradient of {name}") is not None:
                detail = f"before applies {name} already"
                note("differ", None, detail)
                raise _Refuted(note.counterexample(detail))
        for name in sorted(pair.gained | pair.applied):
            gradient = gradients.get(f"gradient of {name}")
            if gradient is None or not bool((gradient != 0).any()):
                detail = f"no gradient reaches {name}"
                note("differ", None, detail)
                raise _Refuted(note.counterexample(detail))

    def _note(
        self,
        device: str,
        dtype: torch.dtype,
        training: bool,
        shapes: tuple[str, ...],
        outcome: str,
        seed: int,
        detail: str,
        largest: float | None = None,
    ) -> None:
        mode = "train" if training else "eval"
        name = str(dtype).removeprefix("torch.")
        self.record.trials.append(Trial(device, name, mode, shapes, largest, outcome, seed, detail))

    def _shortfall(self) -> str:
        """Why the trials do not suffice for a verdict; "" when they do."""
        counted = [item for item in self.record.trials if item.outcome == "agree"]
        for device in sorted(self.devices):
            here = [item for item in counted if item.device == device]
            if not here:
                details = [item.detail for item in self.record.trials if item.device == device and item.detail]
                return f"no trial on {device} counted" + (f": {details[0]}" if details else "")
            shapes = {tuple(_bare(shape) for shape in item.shapes) for item in here}
            if len(shapes) < _NEEDED:
                ran = "; ".join(", ".join(shape) for shape in sorted(shapes))
                return f"only {len(shapes)} input shapes ran on {device}, {_NEEDED} are needed: {ran}"
            if {item.mode for item in here} != {"train", "eval"}:
                return f"only {here[0].mode} mode ran on {device}"
            if device == "cpu" and len({item.dtype for item in here}) < 2:
                return f"only {here[0].dtype} ran on cpu"
        for text, wanted, covered in (
            ("before", self.changed_before, self.record.ran_before),
            ("after", self.changed_after, self.record.ran_after),
        ):
            missing = sorted(item.first for item in wanted - covered)
            if missing:
                return f"changed lines that never ran, in the text {text}: {', '.join(map(str, missing))}"
        silent = sorted(item.first for item in self.flagged - self.record.met)
        if self.job.relation == "repaired" and (silent or not self.flagged):
            return (
                f"the error was never raised at line {', '.join(map(str, silent))}" if silent else "no line is flagged"
            )
        return ""

    def _finish(self, verdict: VerdictName, reason: str) -> Verdict:
        counted = [item for item in self.record.trials if item.outcome == "agree"]
        if verdict == "validated" and self.record.moved:
            reason += "; the new parameters do not start at the identity and were put there"
        bitwise = bool(counted) and not self.record.apart
        return _verdict(verdict, self.devices, self.level, reason, tuple(self.record.trials), bitwise)


@dataclass(slots=True)
class _Noting:
    """Writes the trial that is under way into the record."""

    examination: _Examination
    conditions: trial.Conditions
    shapes: tuple[str, ...]

    def __call__(self, outcome: str, largest: float | None, detail: str) -> None:
        at = self.conditions
        self.examination._note(at.device, at.dtype, at.training, self.shapes, outcome, at.seed, detail, largest)

    def counterexample(self, detail: str) -> str:
        at = self.conditions
        mode = "train" if at.training else "eval"
        name = str(at.dtype).removeprefix("torch.")
        return f"{detail} ({', '.join(self.shapes)}; {name} on {at.device}, {mode} mode, seed {at.seed})"

    def errors(self, before: BaseException | None, after: BaseException | None) -> None:
        """Both raise alike: nothing learnt. A stand-in touched: nothing ran. Only one raises: a counterexample."""
        for error in (before, after):
            if isinstance(error, (stubs.StubTouched, isolation.Refused, MemoryError)):
                self("raised", None, imports.in_one_line(error))
                return
        if before is not None and type(before) is type(after):
            self("skipped", None, f"before and after both raise {imports.in_one_line(before)}")
            return
        if before is None:
            assert after is not None
            detail = f"only after raises {imports.in_one_line(after)}"
        else:
            seen = "succeeds" if after is None else f"raises {imports.in_one_line(after)}"
            detail = f"before raises {imports.in_one_line(before)}, after {seen}"
        self("raised", None, detail)
        raise _Refuted(self.counterexample(detail))


def _depends_on_inputs(
    module: Any, setup: harness.Setup, assignment: Assignment, conditions: trial.Conditions, positional: tuple[str, ...]
) -> bool:
    """For outputs that no gradient ties to the inputs (token ids, detached): other inputs must give other outputs."""
    inspected = setup.inspected

    def outputs(input_seed: int) -> trial.Seen:
        drawn = trial.Conditions(conditions.device, conditions.dtype, False, input_seed)
        made = trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, drawn)
        return trial.run(module, lambda: made, positional, conditions)

    one, other = outputs(1), outputs(2)
    one.gradients, one.effects, other.gradients, other.effects = [], [], [], []
    if one.error is not None or other.error is not None:
        return False
    tensors = [value for _, value in one.outputs if isinstance(value, torch.Tensor) and value.numel()]
    finite = any(bool(torch.isfinite(value).any()) for value in tensors)
    return finite and bool(trial.compare(one, other, frozenset()).difference)


def _bare(shape: str) -> str:
    """A shape without the note on how it lies in memory: the same sizes stored otherwise are no new sizes."""
    return shape.partition(")")[0] + ")"


def _verdict(
    verdict: VerdictName,
    devices: dict[str, str],
    level: str | None = None,
    reason: str = "",
    trials: tuple[Trial, ...] = (),
    bitwise: bool = False,
) -> Verdict:
    names = tuple(sorted(devices.items()))
    return Verdict(verdict, level, reason, bitwise, trials, names, torch.__version__)
