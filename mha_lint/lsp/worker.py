"""One thread that analyses, the most urgent question first, and gives up an analysis that nobody waits for any more.

Linting sets limits of the whole process, and so it is never done by two threads at once. An analysis is given up by an
exception that is raised in the thread, as Ctrl-C would be: the interpreter of the model is not asked each step whether
it should go on.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mha_lint.fixing import TURN

Result = TypeVar("Result")

_YOUNG_AFTER, _ALL_AFTER = 20, 30  # answers that were waited for; others
NOW, SOON, IDLE = 0, 1, 2  # how urgent: findings, what a user points at, what may be asked for later


class Dropped(Exception):
    """A newer question took the place of this one: the text has changed."""


class _GiveUp(BaseException):
    """Raised in the thread. No ``except Exception`` on the way catches it."""


@dataclass(slots=True, eq=False)
class _Job:
    document: str
    kind: Hashable
    urgency: int
    work: Callable[[], Any]
    future: Future[Any]
    is_dropped: bool = False
    outcome: list[Any] = field(default_factory=list)  # the one result, once it is there
    error: BaseException | None = None


class Worker:
    """The thread, and what waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._is_closed = False
        self._is_interrupted = False
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
                self._interrupt()
            self._changed.notify()
        return job.future

    def drop(self, document: str) -> None:
        """Give up all questions on a document, whose text has changed. Their futures raise :class:`Dropped`."""
        with self._changed:
            dropped = [job for job in self._waiting if job.document == document]
            self._waiting = [job for job in self._waiting if job.document != document]
            running = self._running
            if running is not None and running.document == document:
                running.is_dropped = True
                self._interrupt()
        for job in dropped:
            job.future.set_exception(Dropped())

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._interrupt()
            self._changed.notify()
        if self._collects:
            gc.enable()

    def _interrupt(self) -> None:
        """Raise an exception in the thread. The lock is held."""
        self._is_interrupted = True
        identity = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_GiveUp))

    def _take_interruption(self) -> None:
        """Have an interruption raised here that has not been raised yet. The lock is held, by the thread itself.

        It can't be taken back: Python would look for it at each call from then on, and with a profiler for ever.
        """
        if not self._is_interrupted:
            return
        with suppress(_GiveUp):
            self._interrupt()
            while True:
                time.sleep(0)
        self._is_interrupted = False

    def _serve(self) -> None:
        while not self._is_closed:
            with suppress(_GiveUp):
                self._next()
            job = self._settled()
            if job is not None:
                self._collect(job)

    def _next(self) -> None:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return
            job = min(self._waiting, key=lambda job: job.urgency)
            self._running = job  # from here on it may be given up, at any line
            self._waiting.remove(job)
        try:
            with TURN:
                job.outcome = [job.work()]
        except _GiveUp:
            raise
        except BaseException as error:
            job.error = error

    def _settled(self) -> _Job | None:
        """Answer, or have the job wait again where it was only put off."""
        while True:
            try:
                with self._changed:
                    self._take_interruption()  # none comes from here on: who interrupts holds the lock
                    job, self._running = self._running, None
                    if job is None:
                        return None
                    is_done = job.is_dropped or bool(job.outcome) or job.error is not None
                    if not is_done and job not in self._waiting:
                        self._waiting.append(job)
                break
            except _GiveUp:
                continue
        if job.is_dropped:
            job.future.set_exception(Dropped())
        elif job.error is not None:
            job.future.set_exception(job.error)
        elif job.outcome:
            job.future.set_result(job.outcome[0])
        return job

    def _collect(self, job: _Job) -> None:
        """Look for cycles after an answer, since nobody waits then: a look through all that is there takes 0.1 s."""
        self._done[job.urgency] += 1
        if job.urgency == IDLE and self._done[IDLE] % _ALL_AFTER == 0:
            gc.collect()
        elif job.urgency == IDLE or self._done[job.urgency] % _YOUNG_AFTER == 0:
            gc.collect(1)
