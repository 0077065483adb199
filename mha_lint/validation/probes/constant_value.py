"""Constant value: where every value is the same vector, attention returns it: the weights of a query add up to one."""

from __future__ import annotations

import math

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Applied, Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "constant value"


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if seen is not None and insist and seen.softmaxes and not seen.applied:
        words = "a softmax of scores gives weights, and nothing is weighed by them"
        return Observation(NAME, "violated", words)
    if seen is None or not seen.applied:
        raise NotApplicable("no softmax of scores was seen to weigh values")
    judged = [each for each in seen.applied if insist or not each.weights.marks]
    if not judged:
        raise NotApplicable(f"its weights need not add up to one: {', '.join(sorted(seen.applied[0].weights.marks))}")
    worst: tuple[float, str] | None = None
    rows = 0
    for each in judged:
        farthest, live = off(each)
        rows += live
        if farthest is not None and (worst is None or farthest[0] > worst[0]):
            worst = farthest[0], _words(each, farthest[1])
    if not rows:
        raise NotApplicable("every query has all of its keys masked")
    if worst is None:
        return Observation(NAME, "holds", f"the weights of each of {rows} queries add up to 1")
    return Observation(NAME, "violated", worst[1], worst[0])


def off(applied: Applied) -> tuple[tuple[float, int] | None, int]:
    """Return the distance of the farthest sum from one and its place, None if within rounding, and the number of rows.

    Weights that add up to one are each off by half a unit in the last place at most where they were rounded, and the
    softmax's own sum by about the root of its length.
    """
    sums = applied.sums.reshape(-1)
    live = torch.isfinite(sums) & (sums != 0)
    distance = torch.where(live, (sums - 1).abs(), torch.zeros_like(sums))
    if not bool(live.any()):
        return None, 0
    tolerance = (16 + math.sqrt(applied.keys)) * applied.weights.eps
    place = int(distance.argmax())
    largest = float(distance[place])
    return ((largest, place) if largest > tolerance else None), int(live.sum())


def _words(applied: Applied, place: int) -> str:
    total = float(applied.sums.reshape(-1)[place])
    query = place % applied.sums.shape[-1]
    words = f"the weights that query {query} gives to its values add up to {total:.3g}, not 1"
    shape = applied.weights.shape
    if len(shape) == 4 and math.prod(shape[:3]) == applied.sums.numel():
        words += f" (head {place // applied.sums.shape[-1] % shape[1]})"
    return words
