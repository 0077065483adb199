"""One copy of a module for many calls, made afresh only after a call that changed it."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType)


class Pristine:
    """Lends a copy of ``module``, the same one for each mode as long as no call changed it.

    The search makes hundreds of calls and takes changes for what :func:`_state` sees. With ``careful``, as trials need
    it, a module that keeps an object of a kind unknown here, which might change inside, is copied for each call.
    """

    def __init__(self, module: Any, *, careful: bool = False) -> None:
        self._module = module
        self._copies: dict[bool, tuple[Any, list[tuple[Any, ...]]]] = {}
        self._is_shared = not careful or all(
            _is_plain(value)
            for part in module.modules()
            for name, value in vars(part).items()
            if name not in ("_parameters", "_buffers", "_modules")
        )

    def lend(self, training: bool = False) -> Any:
        """A copy in the state of ``module``, in train or eval mode, with no gradients."""
        known = self._copies.get(training) if self._is_shared else None
        if known is not None and _same(known[1], _state(known[0])):
            for value in known[0].parameters():
                value.grad = None
            return known[0]
        made = copy.deepcopy(self._module)
        made.train(training)
        self._copies[training] = (made, _state(made))
        return made


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, (*_PLAIN, torch.dtype, torch.device))


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
                    mark = tuple(map(id, value.values() if isinstance(value, dict) else value)) if value else ()
                found.append((name, value, mark))
    return found


def _same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    return len(one) == len(other) and all(
        first[0] == second[0] and first[1] is second[1] and first[2] == second[2]
        for first, second in zip(one, other, strict=True)
    )
