"""Times two calls in turns, with the clock and the threads of ``torch.utils.benchmark``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from torch.utils import benchmark

from mha_lint.bench.results import Spread

_SLICE = 0.005  # seconds of calls that make one measurement
_LEAST = 0.2  # seconds for both sides together
_MOST = 0.8  # seconds after which few measurements have to do
_TURNS = 9  # measurements of each side
_FEWEST = 5
_SLOWEST = 3.0  # seconds of one call; what takes longer is not timed

Call = Callable[[], object]
IsOver = Callable[[], bool]  # tells whether no time is left


class TooSlow(Exception):
    """There is no time for calls that take so long."""


def in_turns(calls: Sequence[Call], device: str, is_over: IsOver, *, again: bool = False) -> list[list[float]]:
    """The seconds of a call of each, measured in turns; whoever comes first in one turn comes last in the next.

    Each was called before: the first call may allocate, choose kernels, or compile. ``again`` says that there are
    measurements of both already, to which few are added.
    The CPU computes in one thread, as torch's own timer has it: several would wait for each other on a busy machine.
    Raises :class:`TooSlow`.
    """
    with benchmark.set_torch_threads(1):
        return _in_turns(calls, _clock(device), is_over, again=again)


def spread(seconds: Sequence[float]) -> Spread:
    """The median and the quartiles of measurements."""
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return Spread(median, lower, upper, len(seconds))


def _in_turns(calls: Sequence[Call], clock: Callable[[], float], is_over: IsOver, *, again: bool) -> list[list[float]]:
    single: list[float] = []
    for call in calls:
        single.append(_seconds(call, 1, clock))
        if single[-1] > _SLOWEST:
            raise TooSlow(f"one call takes {single[-1]:.1f} s")
    repeats = max(1, int(_SLICE / max(1e-9, min(single))))  # the same for both: what disturbs disturbs them alike
    enough, least = (_FEWEST, _LEAST / 2) if again else (_TURNS, _LEAST)
    places = list(range(len(calls)))
    seconds: list[list[float]] = [[] for _ in calls]
    spent = 0.0
    if repeats == 1:  # that was the first turn
        seconds = [[one] for one in single]
        spent = sum(single)
        places.reverse()
    while True:
        for place in places:
            took = _seconds(calls[place], repeats, clock)
            seconds[place].append(took / repeats)
            spent += took
        places.reverse()
        turns = len(seconds[0])
        if turns < _FEWEST:
            if is_over():
                raise TooSlow("no time was left for enough measurements")
        elif spent >= _MOST or (turns >= enough and spent >= least) or is_over():
            return seconds


def _seconds(call: Call, repeats: int, clock: Callable[[], float]) -> float:
    begun = clock()
    for _ in range(repeats):
        call()
    return clock() - begun


def _clock(device: str) -> Callable[[], float]:
    """The clock of torch's timer, which waits for CUDA.

    On the CPU, the time that the processor spent on this thread, which is the only one: it is the time that passes, but
    for what other processes of a busy machine take in between. That of the whole process comes in ticks where its time
    is bounded.
    """
    return time.thread_time if device == "cpu" else benchmark.timer
