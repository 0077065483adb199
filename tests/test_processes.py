"""Work in several processes: in order, and an item that kills its process costs that item alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from mha_lint.processes import Died, map_in_processes


def double(item: int) -> int:
    return 2 * item


def die_on_7_and_30(item: int) -> int:
    """Dies as native code does: at once, without an exception."""
    if item == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == 30:
        os._exit(3)
    return 2 * item


def die_always(item: int) -> int:
    os._exit(item)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 23])
def test_results_come_in_order(count: int) -> None:
    assert list(map_in_processes(double, range(count), 2)) == [2 * item for item in range(count)]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_an_item_that_kills_its_process_costs_that_item_alone(jobs: int) -> None:
    results = list(map_in_processes(die_on_7_and_30, range(40), jobs))
    expected: list[int | Died] = [2 * item for item in range(40)]
    expected[7], expected[30] = Died(-signal.SIGSEGV), Died(3)
    assert results == expected
    assert [str(results[7]), str(results[30])] == ["signal 11", "status 3"]


def test_where_no_process_can_start_the_work_is_done_in_this_one() -> None:
    # A script from stdin is nothing that a spawned process could import.
    script = (
        "from mha_lint.processes import map_in_processes\nprint([x for x in map_in_processes(abs, range(10), 2)])\n"
    )
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{list(range(10))}\n"


def test_items_that_all_kill_their_processes_end_too() -> None:
    assert list(map_in_processes(die_always, range(1, 4), 2)) == [Died(1), Died(2), Died(3)]


@pytest.mark.parametrize("work", [double, die_on_7_and_30])
def test_no_process_is_left_when_the_reader_stops_early(work: Callable[[int], int]) -> None:
    import multiprocessing
    import time

    results = map_in_processes(work, range(40), 2)
    assert [next(results) for _ in range(7)] == [2 * item for item in range(7)]
    results.close()
    deadline = time.monotonic() + 120
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_interrupt_blocked(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs POSIX signals")
def test_no_interrupt_comes_between_while_a_process_starts() -> None:
    """A process that inherits the blocked signal was started while it was blocked."""
    assert list(map_in_processes(is_interrupt_blocked, range(8), jobs=2)) == [True] * 8
    assert not is_interrupt_blocked(0), "afterwards it comes again"
