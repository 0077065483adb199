"""Scores that an addition spreads over keys, or queries, which are not there: a mask is for more of them.

Code that computes attention by hand takes one key for as many as the mask has, since sizes of 1 are spread. Fused
attention raises an error: it takes no mask that is larger than the scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from mha_lint.validation.probes.watching import Watching

_IN_PLACE = re.compile(r"output with shape \[([\d, ]+)\] doesn't match the broadcast shape \[([\d, ]+)\]")
TOLD = "where a mask is for more keys or queries than there are, before spreads the only one; after raises an error"


def spreads_scores(error: BaseException | None, run: Callable[[], object]) -> bool:
    """Tell whether ``error`` says that a mask is larger than the scores, and ``run``, of before, spreads them so."""
    match = _IN_PLACE.search(str(error)) if isinstance(error, RuntimeError) else None
    if match is None:
        return False
    narrow, wide = (tuple(int(size) for size in sizes.split(",")) for sizes in match.groups())
    if narrow[:-2] != wide[:-2]:
        return False
    met = False

    class Seeing(Watching):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            nonlocal met
            result = func(*args, **(kwargs or {}))
            is_wide = isinstance(result, torch.Tensor) and result.shape == wide
            met |= is_wide and any(isinstance(value, torch.Tensor) and value.shape == narrow for value in args)
            return result

    with Seeing():
        run()
    return met
