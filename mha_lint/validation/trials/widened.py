"""Runs in float64 throughout: what code casts to float32 on its way stays float64.

A softmax that is computed in float32 whatever the dtype of its inputs is makes a run in float64 no better than one in
float32. What such code means is told by a run in which those casts are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from msgspec import Struct

from mha_lint.validation.probes.watching import Watching


class Casts(Struct):
    """Tell whether any cast from float64 to float32 was met."""

    met: bool = False


def _computes(operation: Any) -> bool:
    """Tell whether an operation takes its values from its first argument: a cast, or a sum in another dtype."""
    name: str = operation.overloadpacket.__name__
    return not name.endswith("_like") and not name.startswith("new_")


def _is_whole(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor) and not args[0].is_floating_point()


def _is_wide(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64


@contextlib.contextmanager
def widened(casts: Casts, *, also_of_integers: bool = False) -> Iterator[None]:
    """Leave out, as long as this lasts, each cast of a tensor from float64 to float32.

    With ``also_of_integers``, a cast of integers to float32 gives float64 as well.
    """

    class Widened(Watching):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            if (result := self.in_parts(func, args, named)) is not NotImplemented:
                return result
            if named.get("dtype") == torch.float32 and _computes(func):
                is_wide = _is_wide(args)
                casts.met |= is_wide
                if is_wide or (also_of_integers and _is_whole(args)):
                    named = {**named, "dtype": torch.float64}
            return func(*args, **named)

    with Widened():
        yield
