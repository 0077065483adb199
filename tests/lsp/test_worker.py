"""The thread that analyses: every question is answered or dropped, whenever it is interrupted."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest

from mha_lint.lsp.worker import IDLE, NOW, Dropped, Worker


def _busy(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total


def test_no_question_is_forgotten_however_often_work_is_given_up() -> None:
    worker, randomly = Worker(), random.Random(0)
    asked: list[tuple[int, Future[int]]] = []
    end = time.monotonic() + 8
    while time.monotonic() < end:
        steps = randomly.randrange(3000)
        urgency = randomly.choice((NOW, IDLE))
        asked.append(
            (steps, worker.ask(f"file {len(asked) % 3}", len(asked), urgency, lambda steps=steps: _busy(steps)))
        )
        if randomly.random() < 0.4:
            worker.drop(f"file {randomly.randrange(3)}")
        if len(asked) % 50 == 0:
            time.sleep(randomly.random() / 200)
    answered = 0
    for steps, future in asked:
        try:
            assert future.result(timeout=60) == _busy(steps)
            answered += 1
        except Dropped:
            pass
    worker.close()
    assert 100 < answered < len(asked)


def test_what_is_urgent_comes_first_and_what_it_put_off_is_done_later() -> None:
    worker = Worker()
    begun: list[float] = []

    def slow() -> float:
        begun.append(time.monotonic())
        _busy(20_000_000)
        return time.monotonic()

    idle = worker.ask("a", "idle", IDLE, slow)
    while not begun:
        time.sleep(0.001)
    urgent = worker.ask("b", "now", NOW, time.monotonic)
    assert urgent.result(timeout=60) < idle.result(timeout=120)
    assert len(begun) == 2
    worker.close()


def test_a_mistake_of_the_work_is_handed_to_who_asked() -> None:
    worker = Worker()
    with pytest.raises(ZeroDivisionError):
        worker.ask("a", "x", NOW, lambda: 1 // 0).result(timeout=60)
    assert worker.ask("a", "y", NOW, lambda: 7).result(timeout=60) == 7
    worker.close()


def test_after_work_was_given_up_python_runs_as_before() -> None:
    """An interruption that nobody took would be looked for at each call, and under a profiler without end."""
    script = """
import cProfile, gc, time
from mha_lint.lsp.worker import NOW, Worker

def work():
    while True:
        time.sleep(0.001)

worker = Worker()
for _ in range(20):
    worker.ask("a", "findings", NOW, work)
    time.sleep(0.005)
    worker.drop("a")
worker.ask("a", "findings", NOW, lambda: 1).result()
worker.close()
worker._thread.join()
profile = cProfile.Profile()
profile.enable()
(lambda: 1)()
profile.disable()
print(gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")
