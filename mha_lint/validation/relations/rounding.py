"""Whether two executions that differ do so by rounding alone, told from a run of *before* in float64.

The bound: the error of *after* against that run is at most twice the error of *before*, and one unit in the last place.
For float64 itself there is no better run: there, the error of *before* is the one that it has in float32, as much
smaller as the unit in the last place is.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.search.targets import signature_of
from mha_lint.validation.trials import trial

# How far, relative to its largest value, *before* itself may be from the float64 run. What is further off was not the
# same computation: other random numbers, or a cast that the run in float64 does not share.
_CLOSE = {torch.float32: 1e-2, torch.float16: 1e-1, torch.bfloat16: 1e-1}


def excuse(
    setup: Setup,
    module: Any,
    assignment: Assignment,
    conditions: trial.Conditions,
    before: trial.Seen,
    after: trial.Seen,
) -> str:
    """In words, how the two compare with a float64 run of before, which is ``module``; "" where that is no excuse."""
    inspected, is_wide = setup.inspected, conditions.dtype == torch.float64
    narrow = torch.float32 if is_wide else conditions.dtype
    wide = replace(conditions, dtype=torch.float64, held=narrow)
    positional = trial.positional_only(signature_of(module))

    def make(at: trial.Conditions) -> Callable[[], trial.Inputs]:
        return lambda: trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, at)

    coarse = before
    if is_wide:
        at = replace(conditions, dtype=narrow, default=False)
        coarse = trial.run(copy.deepcopy(module).to(narrow), make(at), positional, at)
    subject = copy.deepcopy(module).to(torch.float64)
    for default in (False, True):
        context = dropping_alike(narrow)
        reference = trial.run(subject, make(wide), positional, replace(wide, default=default), context, coarse)
        if coarse.error is None and reference.error is None:
            if is_wide:
                return account_in_float64(before, after, coarse, reference)
            return account(before, after, reference)
    return ""


def account(before: trial.Seen, after: trial.Seen, reference: trial.Seen) -> str:
    """The errors of both in words, where every difference is one of rounding; "" where one is more than that.

    Only floats among outputs and gradients may differ; structure, shapes, effects and random states may not.
    """
    if not _alike(before, after, reference):
        return ""
    worst = (-1.0, "")
    with torch._C.DisableTorchFunctionSubclass():
        for (name, first), (_, second), (_, exact) in zip(
            _values(before), _values(after), _values(reference), strict=True
        ):
            if not trial.differ(first, second)[0]:
                continue
            errors = _errors(first, second, exact)
            if errors is None:
                return ""
            worst = max(worst, (errors[1], f"{name} of before is off by {errors[0]:.3g}, of after by {errors[1]:.3g}"))
    return worst[1] and f"within rounding: against before in float64, {worst[1]}"


def account_in_float64(before: trial.Seen, after: trial.Seen, narrow: trial.Seen, reference: trial.Seen) -> str:
    """The same for float64: ``narrow`` is before in float32, ``reference`` before in float64 on the values of that."""
    if not _alike(before, after, narrow, reference):
        return ""
    worst = (-1.0, "")
    rows = zip(_values(before), _values(after), _values(narrow), _values(reference), strict=True)
    with torch._C.DisableTorchFunctionSubclass():
        for (name, first), (_, second), (_, coarse), (_, exact) in rows:
            if not trial.differ(first, second)[0]:
                continue
            errors = _errors(coarse, coarse, exact)
            distance = _distance(first, second)
            if errors is None or distance is None:
                return ""
            own = errors[0] * torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
            if distance > 2 * own + last_place(float(first.detach().abs().max()), torch.float64):
                return ""
            worst = max(worst, (distance, f"{name} differs by {distance:.3g}, where before is off by about {own:.3g}"))
    return worst[1] and f"within rounding: going by before in float32, {worst[1]}"


def _alike(before: trial.Seen, after: trial.Seen, *others: trial.Seen) -> bool:
    """Whether nothing but values of outputs and gradients differs."""
    names = [[name for name, _ in _values(seen)] for seen in (before, after, *others)]
    if any(seen.error is not None for seen in others) or any(each != names[0] for each in names):
        return False
    if [name for name, _ in before.effects] != [name for name, _ in after.effects]:
        return False
    pairs = zip(before.effects, after.effects, strict=True)
    return not any(trial.differ(left, right)[0] for (_, left), (_, right) in pairs)


def _distance(first: Any, second: Any) -> float | None:
    """The largest difference of two float64 tensors; None where they are none, or differ in more than values."""
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor) or first.dtype != torch.float64:
        return None
    if any(getattr(first, name) != getattr(second, name) for name in ("shape", "dtype", "device", "requires_grad")):
        return None
    distance = float((first.detach() - second.detach()).abs().max())
    return distance if math.isfinite(distance) else None


def _values(seen: trial.Seen) -> list[tuple[str, Any]]:
    return seen.outputs + seen.gradients


def _errors(before: Any, after: Any, reference: Any) -> tuple[float, float] | None:
    """The largest errors of before and after; None where they are no rounding of the reference."""
    if not all(isinstance(value, torch.Tensor) for value in (before, after, reference)):
        return None
    if before.dtype not in _CLOSE or before.numel() == 0 or before.shape != reference.shape:
        return None
    if any(getattr(before, name) != getattr(after, name) for name in ("shape", "dtype", "device", "requires_grad")):
        return None
    exact = reference.detach().to(torch.float64)
    first, second = (value.detach().to(torch.float64) for value in (before, after))
    if not all(bool(torch.isfinite(value).all()) for value in (exact, first, second)):
        return None
    size = float(exact.abs().max())
    one, other = float((first - exact).abs().max()), float((second - exact).abs().max())
    fits = one <= _CLOSE[before.dtype] * size and other <= 2 * one + last_place(size, before.dtype)
    return (one, other) if fits else None


def last_place(size: float, dtype: torch.dtype) -> float:
    """The distance between neighbouring numbers of ``dtype`` at ``size``."""
    limits = torch.finfo(dtype)
    return float(limits.eps) * 2.0 ** math.floor(math.log2(max(size, float(limits.tiny))))


@contextlib.contextmanager
def dropping_alike(dtype: torch.dtype) -> Iterator[None]:
    """Let dropout of float64 tensors draw the mask that it draws for ``dtype``: CUDA's kernels differ by width."""
    functions = (torch.nn.functional.dropout, torch.dropout)

    class Alike(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            rate = named.get("p", args[1] if len(args) > 1 else 0.5)
            if func not in functions or not args or args[0].dtype != torch.float64 or rate >= 1 or named.get("inplace"):
                return func(*args, **named)
            kept = func(torch.ones_like(args[0], dtype=dtype), *args[1:], **named)
            if bool((kept == 1).all()):  # no training
                return args[0] * 1
            return args[0] * (kept != 0) / (1 - rate)

    with Alike():
        yield
