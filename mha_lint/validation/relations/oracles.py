"""The oracle of *corrected*: before with another reading of the flagged operation, put in at run time.

A probe shows a property, and many a wrong text has it. What the code means is found as *repaired* finds it: before runs
with the flagged call replaced (its mask inverted, its dims moved before a view, its softmax over another dim, its
dropout as in eval mode, its product scaled by the width), and after has to equal it. Where an operation has several
readings, all are candidates: after equals one of them, the same in all trials, and that one satisfies the probe.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch.overrides import TorchFunctionMode

from mha_lint.parsing import parse
from mha_lint.validation.child import imports
from mha_lint.validation.probes import Observation, observe
from mha_lint.validation.relations import score_scales
from mha_lint.validation.relations.holding import calling_row
from mha_lint.validation.relations.readings import READINGS, Call, Change, Reading, moved
from mha_lint.validation.relations.shown import default_dtype, named_arguments, named_axes
from mha_lint.validation.trials import drawing, dropouts, trial
from mha_lint.validation.trials.case import Case
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pairing import Sources
from mha_lint.validation.trials.pristine import copied
from mha_lint.validation.trials.rows import last_places

UNHELD = "its meaning was not held against an oracle"
_MOST = 512  # candidates
_PRUNED = 1e-2  # relative to the largest output: what differs by more is dropped before gradients are compared
_PLACES = 4  # units in the last place of the largest value by which two orders of the same arithmetic may differ


class Place(Struct, frozen=True, order=True):
    """Calls that are read alike: of one kind and one function, with tensors of the same ranks, or in the same row."""

    reading: str
    function: str
    ranks: tuple[int, ...]


Meaning = frozenset[tuple[Place, Change]]  # the changed readings; all other calls keep theirs
_AS_IT_IS: Meaning = frozenset()
_SCALED: Change = ("scaled by the root of the width",)


class Oracle:
    """The candidates for what one job's before means, and how after compares with them over the trials."""

    def __init__(self, sources: Sources) -> None:
        probes = frozenset(sources.job.probes)
        self._axes = sources.job.axes
        self._file = sources.before.pseudo
        self._readings = [each for each in READINGS if each.probes & probes]
        self._scales = score_scales.PROBE in probes
        self._statements = sources.flagged or sources.changed_before
        self._alone = _rows_alone(sources.job.before)
        self._taken = _rows_taken_later(sources.job.before, sources.job.after)
        self._everywhere = not self._statements
        self._known: set[Place] = set()
        self._left: list[Meaning] = [_AS_IT_IS]
        self._satisfying: set[Meaning] = set()
        self._is_beside = False  # the flagged statements run no operation that is known
        self._is_telling = False  # a trial has told some candidates from others
        self._held = 0
        self._unheld = 0

    def judge(
        self, case: Case, before: trial.Seen, after: trial.Seen, seen: Sequence[tuple[Observation, Observation]]
    ) -> tuple[str, str]:
        """In words, the candidate that after equals, or that there is no oracle; then why after is refuted, or ""."""
        shown = [first.probe for first, second in seen if (first.outcome, second.outcome) == ("violated", "holds")]
        kept = self._kept(case, before, after, shown)
        may_widen = not self._is_telling and not self._everywhere and not self._taken
        if kept == [] and may_widen:  # perhaps the operation is elsewhere
            told = self._left
            self._everywhere, self._known, self._left = True, set(), [_AS_IT_IS]
            kept = self._kept(case, before, after, shown)
            self._left = self._left if kept else told
        if not kept and self._is_beside and all(place.reading == "view" for place in self._known):
            kept = None  # views are everywhere: that no other order of one explains after says nothing
        if kept is None:
            self._unheld += 1
            return "no oracle: the flagged statement runs no operation whose meaning is known", ""
        if not kept:
            words = list(dict.fromkeys(_in_words(each) for each in self._left if each))
            return "", f"after is none of what the flagged operation may mean: {', or '.join(words[:4]) or 'as it is'}"
        self._is_telling |= len(kept) < len(self._left)
        self._left = kept
        self._held += 1
        best = min(kept, key=_order)
        return f"after equals before, but for: {_in_words(best)}" if best else "after equals before", ""

    @property
    def is_held(self) -> bool:
        """Tell whether every trial was held against it, and after is what another reading of before gives."""
        return self._held > 0 and not self._unheld and self._left != [_AS_IT_IS]

    def shortcoming(self) -> str:
        """Return what a verdict must say of its trials: that some, or all, were not held against an oracle; else ""."""
        if not self._unheld:
            return ""
        return UNHELD if not self._held else f"{UNHELD} in {self._unheld} of {self._held + self._unheld} trials"

    def _kept(self, case: Case, before: trial.Seen, after: trial.Seen, shown: list[str]) -> list[Meaning] | None:
        """The candidates that after equals in this trial, and that satisfy what it was shown; None without any."""
        found = self._places(case)
        if not found and not self._held and not self._everywhere and not self._taken:
            self._everywhere = self._is_beside = True
            found = self._places(case)
        if not found:
            return None
        self._widen(found)
        outcomes: dict[Meaning, bool] = {}
        kept: list[Meaning] = []
        for meaning in self._left:
            here = frozenset(each for each in meaning if each[0] in found)
            if here not in outcomes:
                outcomes[here] = self._equals(case, here, before, after)
            if outcomes[here] and self._satisfies(case, meaning, here, shown):
                kept.append(meaning)
        return kept

    # --- the candidates

    def _places(self, case: Case) -> dict[Place, tuple[Change, ...]]:
        """The calls that one run of before makes, and what each may mean instead."""
        found: dict[Place, tuple[Change, ...]] = {}
        if self._scales:
            scores = self._scores(case, case.conditions)
            for product in scores.products:
                if product.factor != 1.0 and scores.is_whole:
                    found[Place("scale", "product", (product.row,))] = (_SCALED,)
        survey = _Reread(self, _AS_IT_IS, case)
        way = trial.Way(learns=False, backward=False)
        trial.run(case.copies[0], case.make, case.positional, case.conditions, survey, way=way)
        return found | {place: tuple(changes) for place, changes in survey.met.items() if changes}

    def _widen(self, found: dict[Place, tuple[Change, ...]]) -> None:
        """Let each candidate read the calls of a place that is new as they are, or in each other way."""
        for place in sorted(found.keys() - self._known):
            self._known.add(place)
            others = [meaning | {(place, change)} for meaning in self._left for change in found[place]]
            self._left = sorted([*self._left, *others], key=_order)[:_MOST]

    def reading_at(self, call: Call) -> Iterator[tuple[Place, Reading]]:
        """The readings of a call, where it is one of the calls that the oracle is about."""
        readings = [each for each in self._readings if call.name in each.functions]
        if not readings:
            return
        row = calling_row(self._file)
        if row is None or not (self._everywhere or _within(row, self._statements)):
            return
        alone = [each for each in readings if each.alone] if row in self._alone else []
        others = [] if row in self._taken else [each for each in readings if not each.alone]
        for reading in alone or others:
            yield Place(reading.name, call.name, reading.ranks(call)), reading

    # --- one candidate

    def _scores(self, case: Case, conditions: drawing.Conditions) -> score_scales.Scores:
        followed = score_scales.Followed(lambda: calling_row(self._file))
        way = trial.Way(learns=True, backward=False)
        trial.run(_subject(case, conditions), _inputs(case, conditions), case.positional, conditions, followed, way=way)
        return followed.scores

    def _read(
        self, case: Case, meaning: Meaning, conditions: drawing.Conditions
    ) -> contextlib.AbstractContextManager[None]:
        """The context in which before computes what the candidate says."""
        rows = {place.ranks[0] for place, change in meaning if change == _SCALED}
        scores = self._scores(case, conditions) if rows else score_scales.Scores()
        factors = {each.place: each.factor for each in scores.products if each.row in rows}
        rescaled = score_scales.Rescaled(lambda: calling_row(self._file), factors, max(1, scores.count))
        reread = _Reread(self, meaning, case)

        @contextlib.contextmanager
        def both() -> Iterator[None]:
            with rescaled, reread:
                yield

        return both()

    def _run(self, case: Case, meaning: Meaning, conditions: drawing.Conditions, *, backward: bool) -> trial.Seen:
        """One execution of before as the candidate reads it."""
        context = self._read(case, meaning, conditions)
        way = trial.Way(backward=backward)
        make = _inputs(case, conditions)
        return trial.run(_subject(case, conditions), make, case.positional, conditions, context, way=way)

    def _equals(self, case: Case, meaning: Meaning, before: trial.Seen, after: trial.Seen) -> bool:
        """Compare after with one candidate: bit by bit, or else within the rounding of the candidate itself."""
        seen = before
        if meaning:
            quick = self._run(case, meaning, case.conditions, backward=False)
            if quick.error is not None or not _near(quick, after):
                return False
            seen = self._run(case, meaning, case.conditions, backward=True)
        if seen.error is not None:
            return False
        if not trial.compare(seen, after, case.pair.new).difference:
            return True
        return bool(meaning) and self._within_rounding(case, meaning, seen, after)

    def _within_rounding(self, case: Case, meaning: Meaning, seen: trial.Seen, after: trial.Seen) -> bool:
        """Tell a difference in rounding, by the candidate's own error against a run of it in float64.

        In float64 that error is the one that it has in float32, as much smaller as the unit in the last place is. A
        sum that cancels out errs by the size of its terms: the unit counts in the largest value of its kind.
        """
        at = case.conditions
        is_wide = at.dtype == torch.float64
        narrow = torch.float32 if is_wide else at.dtype
        coarse, share = seen, 1.0
        if is_wide:
            coarse = self._run(case, meaning, replace(at, dtype=narrow, default=False), backward=True)
            share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
        wide = replace(at, dtype=torch.float64, held=narrow)
        with dropouts.dropping_alike(narrow):
            exact = self._run(case, meaning, wide, backward=True)
        if exact.error is not None or coarse.error is not None:
            return False
        with torch._C.DisableTorchFunctionSubclass():
            return all(
                _agree(*values, share) for values in zip(_by_kind(seen), _by_kind(after), _by_kind(coarse),
                                                         _by_kind(exact), strict=True)
            ) and _states(seen) == _states(after)  # fmt: skip

    def _satisfies(self, case: Case, meaning: Meaning, here: Meaning, shown: list[str]) -> bool:
        """Ask of a candidate what before lacks and after has; once, since it is the same candidate in all trials."""
        if not shown or meaning in self._satisfying:
            return True
        for probe in shown:
            context = self._read(case, here, replace(case.conditions, training=False))
            arguments, axes = named_arguments(case), named_axes(case, self._axes)
            with default_dtype(case.conditions), imports.quiet(), context:
                module = case.copies[0].lend(training=False)
                seed = case.conditions.seed
                found = observe(probe, module, arguments, seed=seed, insist=True, axes=axes)
            if found.outcome == "violated":
                return False
        self._satisfying.add(meaning)
        return True


class _Reread(TorchFunctionMode):
    """Gives calls the reading that a candidate has for them. ``met`` are the places that it came by."""

    def __init__(self, oracle: Oracle, meaning: Meaning, case: Case) -> None:
        super().__init__()
        self._oracle, self._meaning = oracle, dict(meaning)
        # A function has no mode: what it drops it drops in both.
        self._training = case.conditions.training if case.setup.target.is_class else None
        self.met: dict[Place, dict[Change, None]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {}, self._training)
        for place, reading in self._oracle.reading_at(call):
            known = self.met.setdefault(place, {})
            if not self._meaning:
                known.update(dict.fromkeys(reading.changes(call)))
            elif place in self._meaning:
                read = reading.read(call, self._meaning[place])
                if read is not None:
                    return read
        return call.run()


def _rows_alone(text: str) -> frozenset[int]:
    """The rows of statements that are a call, of which nobody takes the result."""
    calls = [node for node in ast.walk(parse(text)) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return frozenset(row for call in calls for row in range(call.lineno, (call.end_lineno or call.lineno) + 1))


def _rows_taken_later(before: str, after: str) -> frozenset[int]:
    """The rows of calls whose result nobody takes in ``before``, and a name takes in ``after``."""
    given = {ast.dump(node.value) for node in ast.walk(parse(after)) if isinstance(node, ast.Assign)}
    found: set[int] = set()
    for node in ast.walk(parse(before)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.dump(node.value) in given:
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return frozenset(found)


def _within(row: int, statements: frozenset[Statement]) -> bool:
    return any(statement.first <= row <= statement.last for statement in statements)


def _subject(case: Case, conditions: drawing.Conditions) -> Any:
    """Before, in the dtype of the conditions."""
    if conditions.dtype == case.conditions.dtype:
        return case.copies[0]
    return copied(case.pair.before).to(conditions.dtype)


def _inputs(case: Case, conditions: drawing.Conditions) -> Callable[[], drawing.Inputs]:
    return replace(case, conditions=conditions).make


def _order(meaning: Meaning) -> tuple[int, int, str]:
    """The fewest other readings first, and those that move the fewest dims."""
    return len(meaning), sum(moved(change) for _, change in meaning), str(sorted(meaning, key=str))


def _in_words(meaning: Meaning) -> str:
    return ", ".join(dict.fromkeys(_said(change) for _, change in sorted(meaning, key=str)))


def _said(change: Change) -> str:
    name, *what = change
    return f"{name} ({', '.join(map(str, what))})" if what else str(name)


def _near(quick: trial.Seen, after: trial.Seen) -> bool:
    """Outputs that may be the same but for rounding, in a form that is the same."""
    if [path for path, _ in quick.outputs] != [path for path, _ in after.outputs]:
        return False
    for (_, left), (_, right) in zip(quick.outputs, after.outputs, strict=True):
        if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
            continue
        if left.shape != right.shape or left.dtype != right.dtype:
            return False
        if left.is_floating_point() and left.numel():
            one, other = left.detach().to(torch.float64), right.detach().to(torch.float64)
            size = float(other.nan_to_num(0.0, 0.0, 0.0).abs().max())
            within = 16 * _PRUNED if left.dtype in (torch.float16, torch.bfloat16) else _PRUNED
            if not torch.allclose(one, other, rtol=within, atol=within * size, equal_nan=True):
                return False
    return True


def _by_kind(seen: trial.Seen) -> list[list[tuple[str, Any]]]:
    """Return what arithmetic leaves behind: outputs, gradients, and buffers with inputs."""
    states = ("random state", "Python's random state", "CUDA random state")
    return [seen.outputs, seen.gradients, [item for item in seen.effects if item[0] not in states]]


def _states(seen: trial.Seen) -> list[Any]:
    """Random states afterwards, in a form that can be compared."""
    states = [value for name, value in seen.effects if name.endswith("random state")]
    return [value.tolist() if isinstance(value, torch.Tensor) else value for value in states]


def _agree(
    seen: list[tuple[str, Any]],
    after: list[tuple[str, Any]],
    coarse: list[tuple[str, Any]],
    exact: list[tuple[str, Any]],
    share: float,
) -> bool:
    """The values of one kind agree within the error that the candidate has itself."""
    names = [[name for name, _ in each] for each in (seen, after, coarse, exact)]
    if any(each != names[0] for each in names):
        return False
    floats = [value for _, value in exact if isinstance(value, torch.Tensor) and value.is_floating_point()]
    finite = [value.detach().nan_to_num(0.0, 0.0, 0.0).abs() for value in floats if value.numel()]
    size = max((float(value.max()) for value in finite), default=0.0)
    for (_, one), (_, other), (_, rough), (_, right) in zip(seen, after, coarse, exact, strict=True):
        if not trial.differ(one, other)[0]:
            continue
        tensors = [value for value in (one, other, rough, right) if isinstance(value, torch.Tensor)]
        if len(tensors) < 4 or one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point():
            return False
        first, second, third, fourth = (value.detach().to(torch.float64) for value in tensors)
        error = (third - fourth).abs().nan_to_num(0.0, 0.0, 0.0).max()
        bound = 2 * share * float(error) + _PLACES * float(last_places(torch.tensor(size), one.dtype))
        if not torch.allclose(first, second, rtol=0.0, atol=bound, equal_nan=True):
            return False
    return True
