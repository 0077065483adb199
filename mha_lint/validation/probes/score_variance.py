"""Unit score variance: with independent standard normal queries and keys, scores have variance 1 before the softmax."""

from __future__ import annotations

import math
import re
import statistics
from typing import Any

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.factors import is_scaled_twice
from mha_lint.validation.probes.facts import Scores, Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.probes.trace import traced

NAME = "unit score variance"
# A wrong scale is off by the number of heads, the head width, or more: a factor of 2 at least, of 4 in practice.
# The mean over runs has a standard error of 0.06 at most when it is judged, so that 1 lies within by 4 of them.
_WITHIN = (0.7, 1.4)
_SURE = 0.06
_FEWEST, _MOST = 6, 48  # runs
_TURN = re.compile(r"(?<![a-z])(cos|sin)(?![a-z])")
_SCALE = re.compile(r"scal|multiplier|norm_factor")
_NOT_ACTIVATIONS = re.compile(r"mask|bias|pos|cos|sin|freq|rot|scale|temperature")


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if seen is None or not seen.softmaxes:
        raise NotApplicable("no softmax of scores was seen")
    runs: list[list[tuple[Scores, float]]] = []
    for count in range(_MOST):
        runs.append(_measured(subject, count))
        means = [_mean(run, insist) for run in runs]
        known = [value for value in means if value is not None]
        if not known:
            break
        if len(known) >= _FEWEST and statistics.stdev(known) / math.sqrt(len(known)) <= _SURE * statistics.mean(known):
            break
    known = [value for run in runs if (value := _mean(run, insist)) is not None]
    if not known:
        raise NotApplicable(_why_not(runs[0]))
    variance = statistics.mean(known)
    error = statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else float("inf")
    judged = next(scores for scores, _ in runs[0] if insist or not scores.marks)
    width = judged.width
    words = f"with standard-normal queries and keys of width {width} the scores have variance {variance:.3g}"
    if _WITHIN[0] <= variance <= _WITHIN[1]:
        return Observation(NAME, "holds", words)
    if error > 2 * _SURE * variance:
        raise NotApplicable(f"there are too few scores to measure their variance: {variance:.3g} ± {error:.2g}")
    is_twice = _is_one_over(width, variance) and is_scaled_twice(judged.factors, width)
    if not insist and not is_twice and (why := _meant(subject, variance, width, seen)):
        raise NotApplicable(f"{words}, {why}")
    if is_twice:
        words += f", as two scales of {width**-0.5:.3g} give them, one after the other"
    return Observation(NAME, "violated", f"{words}, not 1", abs(variance - 1))


def _measured(subject: Subject, count: int) -> list[tuple[Scores, float]]:
    """The mean square of the scores that each softmax got, in one run; NaN where they were not followed."""
    generator = torch.Generator().manual_seed(subject.seed + 101 * count + 5)
    changed: dict[str, Any] = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device, value.dtype)
        for name, value in subject.tensors.items()
        if value.is_floating_point() and value.dim() >= 2 and not _NOT_ACTIVATIONS.search(name)
    }
    changed |= {name: turn for name, value in subject.inputs.items() if (turn := _unturned(name, value)) is not None}
    found = traced(subject.with_inputs(changed), generator)
    return [(scores, _mean_square(scores.plain)) for scores in found.softmaxes]


def _unturned(name: str, value: Any) -> Any:
    """In place of the cosines and sines of a rotary embedding, those that turn nothing; None for anything else.

    Where they are drawn at random, they are no rotation. Which of the two comes first makes no difference.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(item, torch.Tensor) for item in value):
        one, other = value
        if one.shape == other.shape and one.is_floating_point() and other.is_floating_point():
            return (torch.ones_like(one), torch.zeros_like(other))
    if isinstance(value, torch.Tensor) and value.is_floating_point() and (found := _TURN.search(name)):
        return torch.ones_like(value) if found[1] == "cos" else torch.zeros_like(value)
    return None


def _mean_square(plain: torch.Tensor | None) -> float:
    """Over pairs of different tokens: a token's own score is no product of independent values where q and k are one."""
    if plain is None:
        return float("nan")
    square = plain.to(torch.float64).square()
    if square.dim() >= 2 and square.shape[-1] == square.shape[-2] > 1:
        own = torch.eye(square.shape[-1], dtype=torch.bool, device=square.device)
        square = square[..., ~own]
    square = square[torch.isfinite(square) & (square != 0)]  # keys that are padding are zeros
    return float(square.mean()) if square.numel() else float("nan")


def _mean(run: list[tuple[Scores, float]], insist: bool) -> float | None:
    """Of the first softmax that can be judged: those of further layers get no other scores."""
    judged = [value for scores, value in run if value == value and (insist or not scores.marks)]
    return judged[0] if judged else None


def _why_not(run: list[tuple[Scores, float]]) -> str:
    marks = sorted({mark for scores, _ in run for mark in scores.marks})
    return f"its scores need not have variance 1: {', '.join(marks)}" if marks else "its scores can't be followed"


def _meant(subject: Subject, variance: float, width: int, seen: Seen) -> str:
    """Return what explains another variance; "" where nothing does."""
    counts = {count for value in subject.tensors.values() for count in _token_counts(value)}
    batches = {value.shape[0] for value in subject.tensors.values() if value.dim()}
    sides = {side for each in seen.applied for side in (each.queries, each.keys)}
    if width in counts and width not in sides and not sides & batches:
        return "as channels get them that attend to each other, whose products sum over tokens"
    if _is_one_over(width, variance):
        return "as a scale of one over the head width gives them, which is meant so for µP"
    if 0.7 <= variance / width <= 1.4:
        if seen.biased:
            return "as no scale gives them, which is meant so for T5, whose initial weights are small instead"
        for part in subject.owner.modules() if subject.owner is not None else ():
            for name, value in vars(part).items():
                if _SCALE.search(name) and (value is False or (isinstance(value, (int, float)) and value == 1)):
                    return f"as no scale gives them, which its attribute {name} = {value} asks for"
    return ""


def _is_one_over(width: int, variance: float) -> bool:
    return width > 1 and _WITHIN[0] <= variance * width <= _WITHIN[1]


def _token_counts(value: torch.Tensor) -> list[int]:
    """Return the numbers of tokens that a sequence (b, t, c) or an image (b, c, H, W) or (b, H, W, c) may have."""
    if value.dim() == 4:
        return [math.prod(value.shape[2:]), math.prod(value.shape[1:3])]
    return [value.shape[1]] if value.dim() == 3 else []
