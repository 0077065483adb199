"""Runs as a computation might have been rounded: what sums many terms is handed operands that are off by rounding.

Sums in another order are off by as much as sums of terms that are each off by one unit in the last place. So a run in
which each sum has such terms, drawn at random, is one more run of the same computation. How far several of them lie
apart tells how much the code around a sum amplifies its rounding (Monte Carlo arithmetic: Parker 1997, "Monte Carlo
Arithmetic: exploiting randomness in floating-point arithmetic"). Gradients are computed with such sums as well.

Rounding is a function of the values. Where terms are equal, as those of tokens that are all alike, they are rounded
alike, and their errors add up where random ones would cancel. So there are runs in which equal elements are off alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils import _pytree

from mha_lint.validation.probes.watching import Watching
from mha_lint.validation.trials import arguments

# The operations of ATen that sum many terms, by how their names begin. Beside them, each element is rounded once.
_SUMS = (
    "mm", "bmm", "addmm", "addbmm", "baddbmm", "mv", "addmv", "dot", "convolution", "_softmax", "_log_softmax",
    "native_layer_norm", "native_batch_norm", "_native_batch_norm", "native_group_norm", "_fused_rms_norm",
    "cudnn_batch_norm", "sum", "mean", "var", "std", "linalg_vector_norm", "logsumexp",
)  # fmt: skip
_NAMES = frozenset(_SUMS) | {f"{name}_backward" for name in _SUMS} | {f"{name}_backward_data" for name in _SUMS}


@contextlib.contextmanager
def drawn(seed: int, *, alike: bool = False) -> Iterator[None]:
    """Hand, as long as this lasts, operands to each sum of which every element is off by one unit in the last place.

    With ``alike``, equal elements of an operand are off alike, and the farther the more of them there are.
    """
    generator = torch.Generator().manual_seed(seed)

    def nudged(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        return (arguments.nudged_alike if alike else arguments.nudged)(value, generator)

    class Drawn(Watching):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            if (result := self.in_parts(func, args, named)) is not NotImplemented:
                return result
            if func.overloadpacket.__name__ in _NAMES:
                args = _pytree.tree_map(nudged, args)
            return func(*args, **named)

    with Drawn():
        yield


_AT_RANDOM = 3  # runs in which each element is off as it comes
_ALIKE = 3  # and those in which equal elements are off alike

# Contexts of runs of the same computation, each rounded otherwise.
SEVERAL: tuple[Callable[[], contextlib.AbstractContextManager[None]], ...] = tuple(
    partial(drawn, seed, alike=seed >= _AT_RANDOM) for seed in range(_AT_RANDOM + _ALIKE)
)
