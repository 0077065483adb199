"""Tell whether two executions that differ do so by rounding alone, told from a run of *before* in float64.

The bound: the error of *after* against that run is at most twice the error of *before*, and one unit in the last place.
It is held element by element: an output is measured by the row that it is in, and a zero stays a zero. A gradient is
measured by the largest gradient, since it may be a sum that is zero only as a difference of large terms.

One run does not tell how much of its rounding *before* amplifies: it may have been lucky. So where the bound fails,
*before* runs a few times more, each time as it might have been rounded, and the largest error of these runs is its own.

For float64 itself there is no better run: there, the error of *before* is the one that it has in float32, as much
smaller as the unit in the last place is, or how far those further runs are apart. Where *before* casts to float32 on
its way, the better run is the one without those casts, in which *after* has to be the same.

Where *before* gives NaN, there is no result to preserve: what *after* gives there is not compared.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from msgspec.structs import replace

from mha_lint.validation.relations.reruns import Rerun
from mha_lint.validation.trials import drawing, dropouts, rows, trial
from mha_lint.validation.trials.case import Case
from mha_lint.validation.trials.pristine import copied
from mha_lint.validation.trials.widened import Casts, widened

# How far, relative to its largest value, *before* itself may be from the float64 run. What is further off was not the
# same computation: other random numbers, or a cast that the run in float64 does not share.
_CLOSE = {torch.float64: 1e-2, torch.float32: 1e-2, torch.float16: 1e-1, torch.bfloat16: 1e-1}
_FINER = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


class Runs:
    """Runs of one computation, each made when it is first asked for."""

    def __init__(self, runs: Iterator[trial.Seen]) -> None:
        self._coming = runs
        self._made: list[dict[str, Any]] = []

    def of(self, name: str) -> Iterator[Any]:
        """What each run gives for an output, a gradient or a buffer."""
        for place in itertools.count():
            if place == len(self._made):
                seen = next(self._coming, None)
                if seen is None:
                    return
                self._made.append(dict(_values(seen)))
            if name in self._made[place]:
                yield self._made[place][name]


def excuse(case: Case, before: trial.Seen, after: trial.Seen, *, by_kernel: bool = False) -> str:
    """In words, how both runs of a case compare with before in float64; "" where that is no excuse.

    ``by_kernel`` says that after takes a kernel of attention that before does not.
    """
    rerun, conditions = _of(case), case.conditions
    if conditions.dtype == torch.float64:
        told = told_in_float64(rerun, conditions, before, after)
        return told if told is not None else _told_by_others(rerun, conditions, before, after, by_kernel=by_kernel)
    reference = in_float64(rerun, conditions, conditions.dtype, before)
    if reference is None:
        return ""
    return account(before, after, reference, rerun.rounded_otherwise(conditions), by_kernel=by_kernel)


def is_chance(case: Case, before: trial.Seen, after: trial.Seen) -> bool:
    """Tell whether before has no digits in the dtype of the case, and after differs from it in nothing else.

    Before may have been lucky once: it has none, too, where most of its runs with sums rounded otherwise have none.
    """
    if not _alike(before, after):
        return False
    rerun = _of(case)
    reference = in_float64(rerun, case.conditions, case.conditions.dtype, before)
    if reference is None:
        return False
    runs = list(rerun.summed_otherwise(case.conditions))
    return has_no_digits(before, reference, iter(runs)) and is_as_close(before, after, runs)


def is_as_close(before: trial.Seen, after: trial.Seen, otherwise: list[trial.Seen]) -> bool:
    """Tell whether after is about as close to before as runs of before that are rounded ``otherwise`` are.

    Each output, gradient and buffer is measured by itself: others in the same run may have digits. What is finite
    before is finite after.
    """
    runs = Runs(iter(otherwise))
    gradients = {name for name, _ in before.gradients}
    largest = _largest(before.gradients)
    with torch._C.DisableTorchFunctionSubclass():
        for (name, first), (_, second) in zip(_values(before), _values(after), strict=True):
            if not trial.differ(first, second)[0]:
                continue
            if not _alike_tensors(first, second) or not first.is_floating_point():
                return False
            if bool((first.isfinite() & ~second.isfinite()).any()):
                return False
            size = largest if name in gradients else float(rows.whole(first))
            unit = float(rows.last_places(torch.tensor(size), first.dtype))
            if not rows.distance(first, second) <= rows.allowed_by_chance(first, runs.of(name)) + unit:
                return False
    return True


def has_no_digits(before: trial.Seen, reference: trial.Seen, otherwise: Iterator[trial.Seen]) -> bool:
    """Tell whether before, or most of its runs that are rounded ``otherwise``, are no rounding of the reference."""
    if not is_exact_enough(before, reference):
        return True
    runs = [is_exact_enough(seen, reference) for seen in otherwise]
    return 2 * sum(runs) < len(runs)


def _of(case: Case) -> Rerun:
    def make(at: drawing.Conditions) -> drawing.Inputs:
        inspected = case.setup.inspected
        return drawing.make_inputs(case.setup.specs, case.assignment, inspected.sizes, inspected.vocabulary, at)

    return Rerun(case.pair.before, case.pair.after, make, case.positional, case.way)


def told_in_float64(rerun: Rerun, conditions: drawing.Conditions, before: trial.Seen, after: trial.Seen) -> str | None:
    """The same for two executions in float64; None where before in float32 is no measure of what rounding does."""
    casts = Casts()
    whole = rerun.at(conditions, copied(rerun.module).to(conditions.dtype), widened(casts))
    if casts.met:
        return _told_without_casts(rerun, conditions, (before, after), whole)
    narrow = replace(conditions, dtype=torch.float32, default=False, widened=False)
    coarse = rerun.at(narrow, copied(rerun.module).to(torch.float32))
    reference = in_float64(rerun, conditions, torch.float32, coarse)
    if _loses_numbers(before, coarse):
        return _told_by_others(rerun, conditions, before, after, by_kernel=True)
    if reference is None or not is_exact_enough(coarse, reference):
        return None
    return account_in_float64(before, after, coarse, reference, rerun.rounded_otherwise(conditions))


def _told_by_others(
    rerun: Rerun, conditions: drawing.Conditions, before: trial.Seen, after: trial.Seen, *, by_kernel: bool
) -> str:
    """The same where float32 is no measure: how far other roundings of before are apart is one."""
    first, second = itertools.tee(rerun.rounded_otherwise(conditions))
    measure = "other roundings of before"
    return account(before, after, before, second, by_kernel=by_kernel, other=next(first), measure=measure)


def _told_without_casts(
    rerun: Rerun, conditions: drawing.Conditions, seen: tuple[trial.Seen, trial.Seen], whole: trial.Seen
) -> str | None:
    """The same where before casts to float32 on its way: ``whole`` is before without those casts.

    After without such casts has to be the same up to rounding, and as it is, no farther from ``whole`` than before.
    """
    other = rerun.at(conditions, copied(rerun.after).to(conditions.dtype), widened(Casts()))
    if whole.error is not None or other.error is not None:
        return None
    narrow = replace(conditions, dtype=torch.float32, default=False, widened=False)
    coarse = rerun.at(narrow, copied(rerun.module).to(torch.float32))
    reference = in_float64(rerun, conditions, torch.float32, coarse)
    if reference is None or not is_exact_enough(coarse, reference):
        return None
    is_same = not trial.compare(whole, other, frozenset()).difference
    first, second = itertools.tee(rerun.rounded_otherwise(conditions, lambda: widened(Casts())))
    if not is_same and not account_in_float64(whole, other, coarse, reference, first):
        return ""
    told = account(*seen, whole, second, by_kernel=True)
    return told and f"{told}, without the casts to float32 on its way"


def in_float64(
    rerun: Rerun, conditions: drawing.Conditions, narrow: torch.dtype, coarse: trial.Seen
) -> trial.Seen | None:
    """Return what before leaves in float64 on inputs that ``narrow`` holds, with the cotangents of ``coarse``.

    None where it raises.
    """
    if coarse.error is not None:
        return None
    wide = replace(conditions, dtype=torch.float64, held=narrow)
    subject = copied(rerun.module).to(torch.float64)
    others = [(is_whole, replace(wide, default=default)) for is_whole in (True, False) for default in (False, True)]
    for is_whole, at in (*others, (True, replace(wide, default=True, widened=True))):
        reference = rerun.at(at, subject, _as_reference(narrow, is_whole=is_whole), coarse)
        if reference.error is None:
            return reference
    return None


@contextlib.contextmanager
def _as_reference(narrow: torch.dtype, *, is_whole: bool) -> Iterator[None]:
    """Let dropout draw as it does for ``narrow``, and with ``is_whole`` leave out casts to float32."""
    with dropouts.dropping_alike(narrow), widened(Casts()) if is_whole else contextlib.nullcontext():
        yield


def account(
    before: trial.Seen,
    after: trial.Seen,
    reference: trial.Seen,
    otherwise: Iterator[trial.Seen],
    *,
    by_kernel: bool,
    other: trial.Seen | None = None,
    measure: str = "before in float64",
) -> str:
    """The errors of both in words, where every difference is one of rounding; "" where one is more than that.

    Only floats among outputs, buffers and gradients may differ; structure, shapes, effects and random states may not.
    ``otherwise`` gives before as it might have been rounded: how far a gradient is off there is an error of before,
    and so is how far an output is off where after takes a kernel of attention that before does not (``by_kernel``).
    ``other`` is a run in which a buffer has another value if before computes it; without, the ``reference`` is.
    The words name the ``measure``.
    """
    computed = dict(_values(other or reference))
    if not _alike(before, after, reference, *([other] if other else [])):
        return ""
    are_numbers = _numbers(before)
    before, after, reference = (_where(are_numbers, each) for each in (before, after, reference))
    worst = (-1.0, "the same wherever before gives a number") if are_numbers else (-1.0, "")
    size = _largest(reference.gradients)
    averages = {name for name, _ in _averages(before)}
    sums = {name for name, _ in before.gradients}
    runs = Runs(_where(are_numbers, seen) for seen in otherwise)
    with torch._C.DisableTorchFunctionSubclass():
        for (name, first), (_, second), (_, exact) in zip(
            _values(before), _values(after), _values(reference), strict=True
        ):
            if not trial.differ(first, second)[0]:
                continue
            if name in averages and torch.equal(first.double(), computed[name].double()):
                return ""  # before does not compute it
            is_sum = name in sums
            further = runs.of(name) if is_sum or by_kernel else ()
            errors = _errors(first, second, exact, further, by_row=not is_sum, size=size if is_sum else 0.0)
            if errors is None:
                return ""
            worst = max(worst, (errors[1], f"{name} of before is off by {errors[0]:.3g}, of after by {errors[1]:.3g}"))
    return worst[1] and f"within rounding: against {measure}, {worst[1]}"


def is_exact_enough(before: trial.Seen, reference: trial.Seen) -> bool:
    """Tell whether the outputs and gradients of before are those of the float64 run, up to a rounding of them."""
    are_numbers = _numbers(before)
    before, reference = _where(are_numbers, before), _where(are_numbers, reference)
    pairs = list(zip(_values(before), _values(reference), strict=False))
    outputs = {name for name, _ in before.outputs}
    size = _largest(reference.gradients)
    for (name, value), (other, exact) in pairs:
        if name != other or type(value) is not type(exact):
            return False
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.numel():
            continue
        if value.shape != exact.shape or value.dtype not in _CLOSE:
            return False
        scale = max(0.0 if name in outputs else size, float(rows.whole(exact)))
        distance = (value.detach().double() - exact.detach().double()).abs()
        if not bool((distance <= _CLOSE[value.dtype] * scale).all()):
            return False
    return len(_values(before)) == len(_values(reference))


def _largest(values: list[tuple[str, Any]]) -> float:
    """The largest absolute value of all of the tensors."""
    tensors = [value for _, value in values if isinstance(value, torch.Tensor) and value.numel()]
    return max((float(rows.whole(value)) for value in tensors), default=0.0)


def account_in_float64(
    before: trial.Seen,
    after: trial.Seen,
    narrow: trial.Seen,
    reference: trial.Seen,
    otherwise: Iterator[trial.Seen],
) -> str:
    """The same for float64: ``narrow`` is before in float32, ``reference`` before in float64 on the values of that.

    What before is off by is told by both, and by ``otherwise``: before in float64, as it might have been rounded.
    """
    if not _alike(before, after, narrow, reference):
        return ""
    are_numbers = _numbers(before)
    before, after, narrow, reference = (_where(are_numbers, each) for each in (before, after, narrow, reference))
    worst = (-1.0, "the same wherever before gives a number") if are_numbers else (-1.0, "")
    size = _largest(reference.gradients)
    averages = {name for name, _ in _averages(before)}
    sums = {name for name, _ in before.gradients}
    runs = Runs(_where(are_numbers, seen) for seen in otherwise)
    compared = zip(*(_values(each) for each in (before, after, narrow, reference)), strict=True)
    with torch._C.DisableTorchFunctionSubclass():
        for (name, first), (_, second), (_, coarse), (_, exact) in compared:
            if not trial.differ(first, second)[0]:
                continue
            if name in averages and torch.equal(coarse.double(), exact):
                return ""  # before does not compute it
            is_sum = name in sums
            close = _errors(coarse, coarse, exact, by_row=not is_sum, size=size if is_sum else 0.0)
            if close is None or not _alike_tensors(first, second):
                return ""
            if not is_sum and bool(rows.lost_zeros(first, second, coarse).any()):
                return ""
            scaled = (coarse.double() - exact).abs().detach() * _FINER
            distance = (first - second).detach().abs()
            own = _own(distance, scaled, first, runs.of(name), size if is_sum else None)
            if own is None:
                return ""
            words = (
                f"{name} differs by {float(distance.max()):.3g}, where before is off by about {float(own.max()):.3g}"
            )
            worst = max(worst, (float(distance.max()), words))
    return worst[1] and f"within rounding: going by before in float32, {worst[1]}"


def _alike(before: trial.Seen, after: trial.Seen, *others: trial.Seen) -> bool:
    """Tell whether nothing but values of outputs and gradients differs."""
    names = [[name for name, _ in _values(seen)] for seen in (before, after, *others)]
    if any(seen.error is not None for seen in others) or any(each != names[0] for each in names):
        return False
    if [name for name, _ in before.effects] != [name for name, _ in after.effects]:
        return False
    averages = {name for name, _ in _averages(before)}
    pairs = zip(before.effects, after.effects, strict=True)
    return not any(name not in averages and trial.differ(left, right)[0] for (name, left), (_, right) in pairs)


def _numbers(before: trial.Seen) -> dict[str, torch.Tensor]:
    """By the name of each output and gradient of before in which there is NaN, where it has none.

    One gradient with NaN spoils the step of an optimiser: no gradient of that run has a number to keep.
    """
    found: dict[str, torch.Tensor] = {}
    for name, value in before.outputs:
        if _has_nan(value):
            found[name] = ~value.detach().isnan()
    if any(_has_nan(value) for _, value in before.gradients):
        tensors = [(name, value) for name, value in before.gradients if isinstance(value, torch.Tensor)]
        found |= {name: torch.zeros_like(value, dtype=torch.bool) for name, value in tensors}
    return found


def _loses_numbers(wide: trial.Seen, narrow: trial.Seen) -> bool:
    """Tell whether a run in a narrow dtype leaves NaN where the same in a wide one has none: it overflowed."""
    known = _numbers(wide)
    for name, is_number in _numbers(narrow).items():
        there = known.get(name)
        if there is None or there.shape != is_number.shape or bool((there & ~is_number).any()):
            return True
    return False


def _has_nan(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _where(are_numbers: dict[str, torch.Tensor], seen: trial.Seen) -> trial.Seen:
    """A run with zeros where before has no numbers. Tensors of other shapes stay as they are."""
    if not are_numbers:
        return seen

    def kept(name: str, value: Any) -> Any:
        there = are_numbers.get(name)
        if there is None or not isinstance(value, torch.Tensor) or value.shape != there.shape:
            return value
        return value.masked_fill(~there, 0.0)

    outputs = [(name, kept(name, value)) for name, value in seen.outputs]
    gradients = [(name, kept(name, value)) for name, value in seen.gradients]
    return replace(seen, outputs=outputs, gradients=gradients)


def _alike_tensors(first: Any, second: Any) -> bool:
    """Tell whether two values are tensors that differ in nothing but their elements."""
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return False
    names = ("shape", "dtype", "device", "requires_grad")
    return all(getattr(first, name) == getattr(second, name) for name in names)


def _values(seen: trial.Seen) -> list[tuple[str, Any]]:
    return seen.outputs + _averages(seen) + seen.gradients


def _averages(seen: trial.Seen) -> list[tuple[str, Any]]:
    """The buffers of floats, which a call may compute: the running averages of a batch norm."""
    buffers = [(name, value) for name, value in seen.effects if name.startswith("buffer ")]
    return [(name, value) for name, value in buffers if isinstance(value, torch.Tensor) and value.is_floating_point()]


def _errors(
    before: Any,
    after: Any,
    reference: Any,
    otherwise: Iterable[Any] = (),
    *,
    by_row: bool,
    size: float = 0.0,
) -> tuple[float, float] | None:
    """The largest errors of before and after; None where they are no rounding of the reference.

    ``size`` is the largest value that stands for the computation, where that is another tensor's; ``otherwise`` is
    before as it might have been rounded, as often as it takes.
    """
    if not isinstance(reference, torch.Tensor) or not _alike_tensors(before, after):
        return None
    if before.dtype not in _CLOSE or before.numel() == 0 or before.shape != reference.shape:
        return None
    exact = reference.detach().to(torch.float64)
    first, second = (value.detach().to(torch.float64) for value in (before, after))
    if not all(bool(torch.isfinite(value).all()) for value in (exact, first, second)):
        return None
    ours, theirs = (first - exact).abs(), (second - exact).abs()
    size = max(size, float(exact.abs().max()))
    if not float(ours.max()) <= _CLOSE[before.dtype] * size:
        return None
    if by_row and bool(rows.lost_zeros(first, second, exact).any()):
        return None
    own = _own(theirs, ours, exact, otherwise, None if by_row else size, before.dtype)
    return None if own is None else (float(own.max()), float(theirs.max()))


def _own(
    distance: torch.Tensor,
    errors: torch.Tensor,
    exact: torch.Tensor,
    otherwise: Iterable[Any],
    size: float | None,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor | None:
    """The errors of before that allow for the ``distance``; None where they do not.

    They begin with ``errors``, and grow with each run of ``otherwise`` by how far it is from ``exact``. A run that is
    not close to that decided something otherwise: it rounds nothing. ``size`` is that of the terms of sums, or None.
    """
    largest = float(exact.abs().max()) if size is None else size
    for other in itertools.chain((None,), otherwise):
        if other is not None:
            moved = (other.detach().double() - exact).abs().detach()
            if not float(moved.max()) <= _CLOSE[dtype] * largest:
                continue
            errors = torch.maximum(errors, moved)
        if size is None:
            bound = rows.allowed(errors, exact.detach(), dtype)
        else:
            bound = rows.allowed_of_sums(errors, size, dtype)
        if bool((distance <= bound).all()):
            return errors
    return None
