"""One thread that analyses, the most urgent question first, and gives up an analysis that nobody waits for any more.

Linting sets limits of the whole process, and so it is never done by two threads at once.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

from msgspec import Struct, field

from mha_lint.fixing import TURN
from mha_lint.interruption import Flag, Interrupted, interruptible

Result = TypeVar("Result")

_YOUNG_AFTER, _ALL_AFTER = 20, 30  # answers that were waited for; others
NOW, SOON, IDLE = 0, 1, 2  # how urgent: findings, what a user points at, what may be asked for later
_PAUSE = 0.3  # seconds before what may be asked for later: whoever types presses the next key sooner


class Dropped(Exception):
    """A newer question took the place of this one: the text has changed."""


class _Job(Struct, eq=False):
    document: str
    kind: Hashable
    urgency: int
    work: Callable[[], Any]
    future: Future[Any]
    asked: float = field(default_factory=time.monotonic)
    flag: Flag = field(default_factory=Flag)  # raised to have it given up
    is_dropped: bool = False
    outcome: list[Any] = field(default_factory=list)  # the one result, once it is there
    error: BaseException | None = None


class Worker:
    """The thread, and what waits for it. What is idle begins after a ``pause`` in seconds."""

    def __init__(self, pause: float = _PAUSE) -> None:
        self._pause = pause
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._is_closed = False
        self._collects = gc.isenabled()
        self._done = [0, 0, 0]  # jobs, by how urgent they were
        gc.disable()  # see _collect
        self._thread = threading.Thread(target=self._serve, name="analysis", daemon=True)
        self._thread.start()

    def ask(self, document: str, kind: Hashable, urgency: int, work: Callable[[], Result]) -> Future[Result]:
        """Have the work done, once for each kind. What is less urgent is put off, and begins anew later."""
        with self._changed:
            running = self._running
            for job in [*self._waiting, *([running] if running is not None else [])]:
                if (job.document, job.kind, job.is_dropped) == (document, kind, False):
                    job.urgency = min(job.urgency, urgency)
                    break
            else:
                job = _Job(document, kind, urgency, work, Future())
                self._waiting.append(job)
            if job is running:
                return job.future
            if running is not None and running.urgency > urgency:
                running.flag.is_raised = True
            self._changed.notify()
        return job.future

    def drop(self, document: str) -> None:
        """Give up all questions on a document, whose text has changed. Their futures raise :class:`Dropped`."""
        with self._changed:
            dropped = [job for job in self._waiting if job.document == document]
            self._waiting = [job for job in self._waiting if job.document != document]
            running = self._running
            if running is not None and running.document == document:
                running.is_dropped = running.flag.is_raised = True
        for job in dropped:
            job.future.set_exception(Dropped())

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._running.flag.is_raised = True
            self._changed.notify()
        if self._collects:
            gc.enable()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            try:
                with TURN, interruptible(job.flag):
                    job.outcome = [job.work()]
            except Interrupted:
                pass
            except BaseException as error:
                job.error = error
            self._settle(job)
            self._collect(job)

    def _next(self) -> _Job | None:
        """Wait for a job; None once there will be no more."""
        with self._changed:
            while not self._is_closed:
                job = min(self._waiting, key=lambda job: job.urgency, default=None)
                if job is None:
                    self._changed.wait()
                elif (left := self._left(job)) > 0:
                    self._changed.wait(left)
                else:
                    self._running = job
                    self._waiting.remove(job)
                    return job
            return None

    def _left(self, job: _Job) -> float:
        """How many seconds remain before a job may begin."""
        return job.asked + self._pause - time.monotonic() if job.urgency == IDLE else 0.0

    def _settle(self, job: _Job) -> None:
        """Answer, or have the job wait again where it was only put off."""
        with self._changed:
            self._running = None
            if not job.is_dropped and not job.outcome and job.error is None:
                job.flag = Flag()
                self._waiting.append(job)
                return
        if job.is_dropped:
            job.future.set_exception(Dropped())
        elif job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.outcome[0])

    def _collect(self, job: _Job) -> None:
        """Look for cycles after an answer, since nobody waits then: a look through all that is there takes 0.1 s."""
        self._done[job.urgency] += 1
        if job.urgency == IDLE and self._done[IDLE] % _ALL_AFTER == 0:
            gc.collect()
        elif job.urgency == IDLE or self._done[job.urgency] % _YOUNG_AFTER == 0:
            gc.collect(1)
