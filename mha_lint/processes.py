"""Work on many items in several processes, in order, so that an item that kills its process costs that item alone."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 4  # items

# Spawned, not forked: by the time processes start, this one may have threads (the progress display).
_CONTEXT = multiprocessing.get_context("spawn")


class Died(Struct, frozen=True):
    """Stands for the result of an item that killed its process; ``status`` is as :mod:`subprocess` gives it."""

    status: int | None

    def __str__(self) -> str:
        return f"signal {-self.status}" if self.status is not None and self.status < 0 else f"status {self.status}"


def map_in_processes(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Generator[Result | Died]:
    """Yield ``work(item)`` for each item, in order. ``work`` is pickled once a process, and must not raise.

    When a process dies, its pool dies with it, and nothing says which item was to blame. Chunks start in order, so
    the item is in one of the first ``jobs`` chunks without a result: these go one by one to a process of their own,
    and the rest to a new pool. Where processes cannot even start, the work is done in this one.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    while chunks:
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(min(jobs, len(chunks)), _CONTEXT, initializer=_start_worker, initargs=(work,))
        finished = 0
        try:
            with _uninterrupted():
                futures = [pool.submit(_work, chunk) for chunk in chunks]
            for future in futures:
                try:
                    results = future.result()
                except BrokenProcessPool:
                    break
                finished += 1
                yield from results
        finally:
            done = finished == len(chunks)
            if not done:  # a process died, or nobody wants the rest: nothing waits for the chunks under way
                _kill(set(multiprocessing.active_children()) - others)
            # Left to itself at the end of the interpreter, the pool may write to a pipe that it has closed.
            pool.shutdown(wait=done, cancel_futures=True)
        suspects, chunks = chunks[finished : finished + jobs], chunks[finished + jobs :]
        if suspects:
            yield from _one_by_one(work, [item for chunk in suspects for item in chunk])


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: a process that is left half started would print a traceback of its own."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.kill()


_worker: Callable[[Any], Any]


def _start_worker(work: Callable[[Any], Any]) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    _worker = work


def _work(chunk: Sequence[Any]) -> list[Any]:
    return [_worker(item) for item in chunk]


# --- one item at a time


def _one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | Died]:
    """As :func:`map_in_processes`, with one process that holds one item at a time and is replaced when it dies."""
    single: _Single[Item, Result] | None = None
    try:
        for item in items:
            if single is None:
                try:
                    single = _Single(work)
                except _CannotStart:
                    yield work(item)
                    continue
            result = single(item)
            if isinstance(result, Died):
                single.close()
                single = None
            yield result
    finally:
        if single:
            single.close()


class _CannotStart(Exception):
    """A process ended before it was given anything."""


class _Single(Generic[Item, Result]):
    """One process and the connection to it."""

    def __init__(self, work: Callable[[Item], Result]) -> None:
        self._line, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, work), daemon=True)
        with _uninterrupted():
            self._process.start()
        theirs.close()  # else the end of the process would not be the end of the line
        try:
            self._line.recv()
        except EOFError as error:
            raise _CannotStart from error

    def __call__(self, item: Item) -> Result | Died:
        try:
            self._line.send(item)
            result: Result = self._line.recv()
        except (EOFError, OSError):
            self._process.join()
            return Died(self._process.exitcode)
        return result

    def close(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.join()


def _serve(line: Connection[Any, Any], work: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.send("ready")
    while True:
        try:
            item = line.recv()
        except EOFError:
            return
        line.send(work(item))
