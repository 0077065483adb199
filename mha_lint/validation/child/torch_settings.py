"""Settings of torch that hold for the whole process: importing a file must not change them for its trials.

A script may set the default dtype or switch gradients off when it is imported; trials say themselves in which dtype, on
which device and with which kernels they run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


def make_deterministic() -> None:
    """Have torch compute the same each time: one thread, deterministic kernels, no TF32."""
    import torch

    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("warn")  # the same setting, without importing the compiler stack
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def _pairs() -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Return the functions that read and write each setting."""
    import torch  # the server imports this file before it knows that torch is there

    anything: Any = torch
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

    def attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
        return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)

    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (lambda: anything._GLOBAL_DEVICE_CONTEXT.__dict__.get("device_context"), _restore_device),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        attribute(matmul, "allow_tf32"),
        attribute(matmul, "allow_fp16_reduced_precision_reduction"),
        attribute(matmul, "allow_bf16_reduced_precision_reduction"),
        attribute(cudnn, "allow_tf32"),
        attribute(cudnn, "benchmark"),
        attribute(cudnn, "enabled"),
    ]


def _restore_device(context: Any) -> None:
    import torch

    torch.set_default_device(context.device if context is not None else None)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Put back, at the end, each of the settings that has changed."""
    earlier = [(read, write, _read(read)) for read, write in _pairs()]
    try:
        yield
    finally:
        for read, write, value in earlier:
            if _read(read) != value:
                with contextlib.suppress(RuntimeError):
                    write(value)


def _read(read: Callable[[], Any]) -> Any:
    """The value; None where torch refuses to tell, since two ways to set the precision were mixed."""
    try:
        return read()
    except RuntimeError:
        return None
