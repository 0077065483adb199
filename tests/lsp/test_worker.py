"""The thread that analyses: every question is answered or dropped, whenever it is interrupted."""

from __future__ import annotations

import gc
import random
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from mha_lint.files import decode
from mha_lint.interruption import Flag, Interrupted, check, interruptible
from mha_lint.linter import _on_a_large_stack, lint
from mha_lint.lsp.worker import IDLE, NOW, Dropped, Worker
from mha_lint.settings import Settings


def _busy(steps: int) -> int:
    total = 0
    for step in range(steps):
        check()
        total += step
    return total


def test_no_question_is_forgotten_however_often_work_is_given_up() -> None:
    worker, randomly = Worker(pause=0.001), random.Random(0)
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
        _busy(10_000_000)
        return time.monotonic()

    idle = worker.ask("a", "idle", IDLE, slow)
    while not begun:
        time.sleep(0.001)
    urgent = worker.ask("b", "now", NOW, time.monotonic)
    assert urgent.result(timeout=60) < idle.result(timeout=120)
    assert len(begun) == 2
    worker.close()


def test_what_is_idle_waits_for_a_pause_and_what_is_asked_for_does_not() -> None:
    patient, quick = Worker(pause=10_000.0), Worker(pause=0.01)
    waiting = patient.ask("a", "fixes", IDLE, lambda: "waited")
    assert patient.ask("b", "findings", NOW, lambda: 1).result(timeout=60) == 1
    assert not waiting.done()
    assert patient.ask("a", "fixes", NOW, lambda: "asked for").result(timeout=60) == "waited"  # it is the same question
    assert quick.ask("a", "fixes", IDLE, lambda: "later").result(timeout=60) == "later"
    assert patient.ask("c", "fixes", IDLE, lambda: 2) is not None
    patient.drop("c")
    patient.close()
    quick.close()


def test_a_mistake_of_the_work_is_handed_to_who_asked() -> None:
    worker = Worker()
    with pytest.raises(ZeroDivisionError):
        worker.ask("a", "x", NOW, lambda: 1 // 0).result(timeout=60)
    assert worker.ask("a", "y", NOW, lambda: 7).result(timeout=60) == 7
    worker.close()


def test_looking_for_cycles_is_left_as_it_was() -> None:
    worker = Worker()
    worker.close()
    assert gc.isenabled()


LINTED = """
import torch

class Attention(torch.nn.Module):
    def forward(self, q, k, v):
        return torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
"""


def test_linting_is_given_up_once_the_flag_is_raised() -> None:
    flag, source = Flag(), decode(Path("attention.py"), LINTED.encode())
    with interruptible(flag):
        assert [finding.code for finding in lint(source, Settings()).findings] == ["MHA201"]
        flag.is_raised = True
        with pytest.raises(Interrupted):
            lint(source, Settings())
        with pytest.raises(Interrupted):
            _on_a_large_stack(source, check)
    assert [finding.code for finding in lint(source, Settings()).findings] == ["MHA201"]
