"""The kernels of ``F.scaled_dot_product_attention``: which of them a call may take, and whether code asks for one.

torch chooses a kernel by device, dtype, shapes, mask and dropout. Each has its own order of sums, and its own way to
draw the random numbers of dropout: the math kernel draws those that ``nn.Dropout`` draws on the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

FLASH, EFFICIENT, CUDNN, MATH = "flash", "memory-efficient", "cuDNN", "math"
NONE = "none"
KERNELS = {"cpu": (FLASH, MATH), "cuda": (FLASH, EFFICIENT, CUDNN, MATH)}  # by the device that has them

_CUDA: Any = torch.backends.cuda  # the switches are there for all devices; torch before 2.5 lacks some
_NAMES = {
    FLASH: ("flash_sdp_enabled", "enable_flash_sdp"),
    EFFICIENT: ("mem_efficient_sdp_enabled", "enable_mem_efficient_sdp"),
    CUDNN: ("cudnn_sdp_enabled", "enable_cudnn_sdp"),
    MATH: ("math_sdp_enabled", "enable_math_sdp"),
}
_Switch = tuple[Callable[[], bool], Callable[[bool], None]]
_SWITCHES: dict[str, _Switch] = {
    kernel: (getattr(_CUDA, read), getattr(_CUDA, write))
    for kernel, (read, write) in _NAMES.items()
    if hasattr(_CUDA, read) and hasattr(_CUDA, write)
}
# How torch says that no kernel which may be taken accepts the inputs.
_REFUSALS = "No viable backend for scaled_dot_product_attention", "No available kernel"


def on(device: str) -> tuple[str, ...]:
    """The kernels of a device that this torch can be told to take."""
    return tuple(kernel for kernel in KERNELS.get(device, ()) if kernel in _SWITCHES)


@contextlib.contextmanager
def chosen(kernel: str) -> Iterator[None]:
    """Let attention take this kernel alone, or none, as long as this lasts; "" leaves the choice to torch."""
    if not kernel:
        yield
        return
    earlier = {name: read() for name, (read, _) in _SWITCHES.items()}
    try:
        for name, (_, write) in _SWITCHES.items():
            write(name == kernel)
        yield
    finally:
        for name, (_, write) in _SWITCHES.items():
            write(earlier[name])


def is_refused(error: BaseException | None) -> bool:
    """Tell whether the error says that attention was asked for, and that no kernel takes its inputs."""
    return isinstance(error, RuntimeError) and str(error).startswith(_REFUSALS)
