"""Measures the most memory that one call has allocated at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Call = Callable[[], object]


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
