"""In which order arguments for a call are tried, given the candidates for each.

``ran_last`` tells how many rows of the file the last one that was taken ran.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping

from mha_lint.validation.search.specs import Assignment, DictSpec, MadeSpec, Spec, TensorSpec, TupleSpec, WrittenSpec


def ordered(required: list[str], options: Mapping[str, list[Spec]]) -> Iterator[dict[str, Spec]]:
    """Combinations of candidates, the ones with the smallest sum of places first."""
    if not required:
        yield {}
        return
    start = (0,) * len(required)
    queue = [(0, start)]
    known = {start}
    while queue:
        total, places = heapq.heappop(queue)
        yield {name: options[name][place] for name, place in zip(required, places, strict=True)}
        for index, place in enumerate(places):
            if place + 1 < len(options[required[index]]):
                after = (*places[:index], place + 1, *places[index + 1 :])
                if after not in known:
                    known.add(after)
                    heapq.heappush(queue, (total + 1, after))


def combinations(
    required: list[str],
    options: Mapping[str, list[Spec]],
    groups: list[tuple[Assignment, ...]],
    ran_last: Callable[[], int],
) -> Iterator[tuple[dict[str, Spec], tuple[Assignment, ...]]]:
    """Each combination with free sizes first; then the likeliest ones with windows, squares and fixed lengths."""
    likely: list[dict[str, Spec]] = []
    furthest: tuple[int, dict[str, Spec]] = (0, {})
    for count, specs in enumerate(ordered(required, options)):
        if not has_tensor(specs):
            continue
        if count >= 120:
            break
        if count >= 60 and furthest[1]:
            yield from ((other, groups[0]) for other in _one_by_one(furthest, options, ran_last))
            furthest = (0, {})
        if len(likely) < 10:
            likely.append(specs)
        yield specs, groups[0]
        if ran_last() > furthest[0] and count < 60:
            furthest = (ran_last(), specs)
    for specs in likely:
        for family in groups[1:]:
            yield specs, family


def _one_by_one(
    start: tuple[int, dict[str, Spec]], options: Mapping[str, list[Spec]], ran_last: Callable[[], int]
) -> Iterator[dict[str, Spec]]:
    """From the combination that ran furthest, other candidates for one argument at a time, keeping what helps."""
    best, specs = start
    tried = [specs]
    for _ in range(2):
        for name in specs:
            for spec in options[name]:
                other = {**specs, name: spec}
                if other not in tried and has_tensor(other):
                    tried.append(other)
                    yield other
                    if ran_last() > best:
                        best, specs = ran_last(), other
        if best == start[0]:
            return


def has_tensor(specs: Mapping[str, Spec]) -> bool:
    return (
        any(isinstance(spec, (TensorSpec, TupleSpec, DictSpec, WrittenSpec, MadeSpec)) for spec in specs.values())
        or not specs
    )
