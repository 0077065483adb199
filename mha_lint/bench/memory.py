"""Measures the most memory that one call has allocated at a time, and has the CPU's allocator keep what is freed."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable
from typing import Any

import torch

Call = Callable[[], object]
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
_MOST_KEPT = (1 << 31) - 1  # bytes
_LARGEST_KEPT = 32 << 20  # bytes of one tensor; glibc takes no more


def keep_freed() -> None:
    """Have freed memory stay with this process, as it does in one that has run for a while.

    At first, glibc gives memory back to the system after each call and takes it again, until its limits have grown; by
    chance, that may cost one side half of its time, and the other nothing.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
            library.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


def peak(call: Call, device: str) -> int | None:
    """Bytes on top of what was allocated before the call; None where torch can't tell."""
    try:
        return _on_cuda(call) if device == "cuda" else _on_cpu(call)
    except (RuntimeError, AttributeError):  # a torch without its profiler, or with another one
        return None


def _on_cuda(call: Call) -> int:
    torch.cuda.synchronize()
    earlier = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return max(0, torch.cuda.max_memory_allocated() - earlier)


def _on_cpu(call: Call) -> int:
    """Torch keeps no count for the CPU, but its profiler sees each allocation and each release."""
    anything: Any = torch.autograd.profiler
    with anything.profile(profile_memory=True, use_kineto=True) as profiled:
        call()
    events = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    allocated = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        most = max(most, allocated)
    return int(most)
