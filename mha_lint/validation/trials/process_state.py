"""Settings of torch and the process that a call could leave otherwise than it found them."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.validation.trials import numpy_state

Setting = tuple[Callable[[], Any], Callable[[Any], object]]
Settings = Mapping[str, Any]


def _autocast(enabled: bool) -> None:
    torch.set_autocast_enabled("cpu", enabled)


def _device(earlier: str) -> None:
    torch.set_default_device(None if earlier == "cpu" else earlier)


def _attribute(owner: Any, name: str) -> Setting:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _environment(earlier: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(earlier)


class _Environment(Struct):
    """The environment as it was when it was last read, as the process keeps it and as text."""

    kept: object = None
    read: dict[str, str] = field(default_factory=dict)

    def now(self) -> dict[str, str]:
        """All variables. They are made into text only where they are no longer what they were."""
        kept = getattr(os.environ, "_data", None)
        if kept is None or kept != self.kept:
            self.kept, self.read = kept and dict(kept), dict(os.environ)
        return self.read


def _filters(earlier: list[Any]) -> None:
    filters: Any = warnings.filters
    filters[:] = earlier


def _flushes() -> bool:
    """Tell whether a number smaller than any normal one counts as zero."""
    return _DENORMAL * _ONE == 0.0


def _hooks_of_all() -> tuple[int, ...]:
    """Count the hooks of each kind that run for all modules of the process."""
    return tuple(len(each) for each in _HOOKS)


def _drop_hooks(earlier: tuple[int, ...]) -> None:
    """Remove the hooks that were registered last, down to these numbers."""
    for hooks, count in zip(_HOOKS, earlier, strict=True):
        while len(hooks) > count:
            hooks.popitem()


def _printing() -> dict[str, Any]:
    """Return the options with which tensors are printed."""
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _print_so(earlier: dict[str, Any]) -> None:
    vars(torch._tensor_str.PRINT_OPTS).update(earlier)


def _collecting(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _path(earlier: list[str]) -> None:
    sys.path[:] = earlier


_HOOKS: tuple[dict[int, Any], ...] = tuple(
    getattr(torch.nn.modules.module, name)
    for name in (
        "_global_forward_pre_hooks",
        "_global_forward_hooks",
        "_global_backward_pre_hooks",
        "_global_backward_hooks",
        "_global_parameter_registration_hooks",
        "_global_module_registration_hooks",
        "_global_buffer_registration_hooks",
    )
    if hasattr(torch.nn.modules.module, name)
)
_DENORMAL, _ONE = 1e-310, 1.0  # by name: Python would multiply constants when it compiles
_CUDA, _MATMUL, _CUDNN = torch.backends.cuda, torch.backends.cuda.matmul, torch.backends.cudnn
# How each is read and written.
_SETTINGS: dict[str, Setting] = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (lambda: str(torch.get_default_device()), _device),
    "whether gradients are on": (torch.is_grad_enabled, torch.set_grad_enabled),
    "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the mode of deterministic algorithms": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "the precision of matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "backends.cuda.matmul.allow_tf32": _attribute(_MATMUL, "allow_tf32"),
    "backends.cudnn.allow_tf32": _attribute(_CUDNN, "allow_tf32"),
    "backends.cudnn.benchmark": _attribute(_CUDNN, "benchmark"),
    "backends.cudnn.enabled": _attribute(_CUDNN, "enabled"),
    "the flash kernel of attention": (_CUDA.flash_sdp_enabled, _CUDA.enable_flash_sdp),
    "the math kernel of attention": (_CUDA.math_sdp_enabled, _CUDA.enable_math_sdp),
    "the memory-efficient kernel of attention": (_CUDA.mem_efficient_sdp_enabled, _CUDA.enable_mem_efficient_sdp),
    "autocast on the CPU": (lambda: torch.is_autocast_enabled("cpu"), _autocast),
    "the working directory": (os.getcwd, os.chdir),
    "the limit of recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
    "the environment": (_Environment().now, _environment),
    "the filters of warnings": (lambda: list(warnings.filters), _filters),
    "the level below which nothing is logged": (lambda: logging.root.manager.disable, logging.disable),
    "collection of garbage": (gc.isenabled, _collecting),
    "the path of imports": (lambda: list(sys.path), _path),
    "errors of floats in numpy": (numpy_state.float_errors, numpy_state.set_float_errors),
    "how tensors are printed": (_printing, _print_so),
    "the fast path of multi-head attention": (
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
    "the kernels of mkldnn": (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "the number of hooks of all modules": (_hooks_of_all, _drop_hooks),
    "flushing of denormal numbers": (_flushes, torch.set_flush_denormal),
}
if hasattr(_CUDA, "cudnn_sdp_enabled"):  # torch 2.5 and later
    _SETTINGS["the cuDNN kernel of attention"] = (_CUDA.cudnn_sdp_enabled, _CUDA.enable_cudnn_sdp)
_OF_THE_CALL = ("whether gradients are on", "autocast on the CPU")  # each call is made with its own


def settings() -> Settings:
    """All settings as they are now."""
    return {name: _read(read) for name, (read, _) in _SETTINGS.items()}


class Left(Struct):
    """Record what one call changed of the settings, the random state of numpy after it, and whether it printed."""

    changed: dict[str, str] = field(default_factory=dict)
    numpy: Any = None
    printed: bool = False


class _Printed(io.TextIOBase):
    """Takes what is printed, and keeps none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_used = False

    def write(self, text: str) -> int:
        self.is_used = self.is_used or bool(text)
        return len(text)


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Put settings that trials choose themselves to what they are where nobody has set them."""
    mode, filters = torch.get_deterministic_debug_mode(), list(warnings.filters)
    torch.set_deterministic_debug_mode("default")
    _filters([])
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        _filters(filters)


@contextlib.contextmanager
def observed(left: Left, usual: Settings) -> Iterator[None]:
    """Note in ``left`` which settings the code inside changes. It finds the ``usual`` ones, and they are put back.

    Earlier calls may have changed them already: a setting that they left would be no change to see.
    """
    now = settings()
    start = {name: now[name] if name in _OF_THE_CALL else value for name, value in usual.items()}
    _put_back(now, start)
    printed = _Printed()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        left.printed = printed.is_used
        left.numpy = numpy_state.random_state()
        ended = settings()
        left.changed.update({name: str(value) for name, value in ended.items() if value != start[name]})
        _put_back(ended, start)


def _put_back(now: Settings, wanted: Settings) -> None:
    for name, (_, write) in _SETTINGS.items():
        if now[name] != wanted[name]:
            with contextlib.suppress(RuntimeError):
                write(wanted[name])


def apart(before: Left, after: Left) -> str:
    """In words, the first difference in what both leave, and whether they print; "" where they leave all alike."""
    if words := left_otherwise(before, after):
        return words
    if before.printed != after.printed:
        return f"only {'before' if before.printed else 'after'} prints"
    return "" if before.numpy == after.numpy else "the random state of numpy differs"


def left_otherwise(before: Left, after: Left) -> str:
    """In words, the first setting that both leave otherwise; "" where they leave all alike."""
    for name in sorted(before.changed.keys() | after.changed.keys()):
        ours, theirs = before.changed.get(name, "as it was"), after.changed.get(name, "as it was")
        if ours != theirs:
            return f"{name} is left {ours} before and {theirs} after"
    return ""


def _read(read: Callable[[], Any]) -> Any:
    """The value; None where torch refuses to tell, since two ways to set it were mixed."""
    try:
        return read()
    except RuntimeError:
        return None
