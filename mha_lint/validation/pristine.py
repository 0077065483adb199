"""One copy of a module for many calls, made afresh only after a call that changed it."""

from __future__ import annotations

import copy
from typing import Any

import torch


class Pristine:
    """Lends a copy of ``module``; the search calls it hundreds of times, and most calls leave it as it was."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._copy: Any = None
        self._state: list[tuple[Any, ...]] = []

    def lend(self) -> Any:
        """A copy in the state of ``module``."""
        if self._copy is None or not _same(self._state, _state(self._copy)):
            self._copy = copy.deepcopy(self._module)
            self._state = _state(self._copy)
        return self._copy


def _state(module: Any) -> list[tuple[Any, ...]]:
    """What the attributes of all modules are, and how often each tensor and container was written to or grew."""
    found: list[tuple[Any, ...]] = []
    for part in module.modules():
        for held in (vars(part), part._parameters, part._buffers, part._modules):
            for name, value in held.items():
                mark: Any = None
                if torch.nn.parameter.is_lazy(value):
                    mark = "lazy"
                elif isinstance(value, torch.Tensor):
                    mark = -1 if value.is_inference() else value._version
                elif isinstance(value, (list, dict, set)):
                    mark = len(value)
                found.append((name, value, mark))
    return found


def _same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    return len(one) == len(other) and all(
        first[0] == second[0] and first[1] is second[1] and first[2] == second[2]
        for first, second in zip(one, other, strict=True)
    )
