"""A module and the inputs of one call, to be called again and again with nothing left behind."""

from __future__ import annotations

import contextlib
import copy
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.findings import Axes
from mha_lint.validation.trials import numpy_state, trial

_DEPTH = 4  # of containers and plain objects within attributes whose contents are put back


class NotApplicable(Exception):
    """The property can't be asked of this module, called in this way; the message says why."""


class Subject(Struct, frozen=True):
    """``inputs`` are keyword arguments by name, and positional ones under "0", "1", … (or 0, 1, …)."""

    module: Callable[..., Any]
    inputs: Mapping[str, Any]
    seed: int
    owner: torch.nn.Module | None  # whose state a call may touch; None for a plain function
    state: State
    axes: Mapping[str, Axes] = field(default_factory=dict)  # by input: what is known of its dimensions beforehand

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The inputs that are tensors themselves."""
        return {name: value for name, value in self.inputs.items() if isinstance(value, torch.Tensor)}

    def with_inputs(self, changed: Mapping[str, Any]) -> Subject:
        return replace(self, inputs={**self.inputs, **changed})

    def fresh(self) -> dict[str, Any]:
        """The inputs, copied: the code may write into them."""
        return {name: cloned(value) for name, value in self.inputs.items()}

    def call(self, arguments: Mapping[str, Any], *, learns: bool = False) -> Any:
        """One call in whatever mode and from whatever random state there is; with gradients where it ``learns``."""
        places = sorted((name for name in arguments if str(name).isdigit()), key=int)
        named = {name: value for name, value in arguments.items() if not str(name).isdigit()}
        with torch.set_grad_enabled(learns):
            return self.module(*(arguments[name] for name in places), **named)

    def run(self) -> torch.Tensor:
        """The output of one call, from the seed and the state that everything had at first."""
        return output_of(self.result())

    def result(self, *, learns: bool = False) -> Any:
        """All that one call returns, from the seed and the state that everything had at first."""
        try:
            trial.seed_everything(self.seed)
            return self.call(self.fresh(), learns=learns)
        finally:
            self.state.restore()


def output_of(result: Any) -> torch.Tensor:
    """The first float tensor with dims in what a call returned. Raises NotApplicable where there is none."""
    for _, value in trial.flatten(result, "output"):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() and value.numel():
            return value.detach().clone()
    raise NotApplicable("no output is a float tensor")


def owner_of(module: Callable[..., Any]) -> torch.nn.Module | None:
    """The module itself, or the one that a method is bound to; None for a plain function."""
    if isinstance(module, torch.nn.Module):
        return module
    bound = getattr(module, "__self__", None)
    return bound if isinstance(bound, torch.nn.Module) else None


@contextlib.contextmanager
def prepared(
    module: Callable[..., Any], inputs: Mapping[str, Any], seed: int, axes: Mapping[str, Axes]
) -> Iterator[Subject]:
    """The subject in eval mode, its inputs on the device of its parameters, floats in their dtype where they have one.

    Afterwards the module and all random states are as they were. Raises NotApplicable for a lazy module.
    """
    owner = owner_of(module)
    named = {str(name): value for name, value in inputs.items()}
    if owner is not None:
        if any(torch.nn.parameter.is_lazy(value) for value in owner.parameters()):
            raise NotApplicable("the module has parameters of unknown size: call it once first")
        devices = {value.device for value in owner.parameters()}
        dtypes = {value.dtype for value in owner.parameters() if value.is_floating_point()}
        device = devices.pop() if len(devices) == 1 else None
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        named = {name: moved(value, device, dtype) for name, value in named.items()}
    before = State(owner)
    with _random_states_kept():
        try:
            if owner is not None:
                owner.eval()
            yield Subject(module, named, seed, owner, State(owner), axes)
        finally:
            before.restore()


@contextlib.contextmanager
def _random_states_kept() -> Iterator[None]:
    cuda: Any = torch.cuda
    devices = list(range(torch.cuda.device_count())) if cuda.is_initialized() else []
    numpy = numpy_state.imported()
    states = random.getstate(), numpy.random.get_state() if numpy is not None else None
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        if numpy is not None and states[1] is not None:
            numpy.random.set_state(states[1])


def moved(value: Any, device: torch.device | None, dtype: torch.dtype | None) -> Any:
    """``value`` with its tensors on the device, its floats in the dtype; None leaves them."""
    match value:
        case torch.Tensor():
            wanted = dtype if value.is_floating_point() and dtype is not None else value.dtype
            return value.detach().to(device=value.device if device is None else device, dtype=wanted)
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(moved(item, device, dtype) for item in value)
        case dict():
            return {key: moved(item, device, dtype) for key, item in value.items()}
    return value


def cloned(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(cloned(item) for item in value)
        case dict():
            return {key: cloned(item) for key, item in value.items()}
    try:
        return copy.deepcopy(value)
    except (TypeError, RuntimeError):  # of locks, generators, tensors that are no leaves: handed over itself
        return value


# --- putting back -------------------------------------------------------------------------------------------------


class State:
    """Keep what a call may change in a module: attributes, the contents of containers, tensors, gradients."""

    def __init__(self, owner: torch.nn.Module | None) -> None:
        self._known: set[int] = set()
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = []
        for part in owner.modules() if owner is not None else ():
            self._note(vars(part), 0)

    def _note(self, value: Any, depth: int) -> None:
        if id(value) in self._known:
            return
        self._known.add(id(value))
        if isinstance(value, torch.Tensor):
            if not torch.nn.parameter.is_lazy(value):
                gradient = value.grad if value.is_leaf else None
                self._tensors.append((value, value.detach().clone(), gradient))
            return
        if depth > _DEPTH or isinstance(value, (torch.nn.Module, type)):
            return
        if isinstance(value, (dict, list, set, deque)):
            self._containers.append((value, copy.copy(value)))
            for item in [*value.values()] if isinstance(value, dict) else [*value]:
                self._note(item, depth + 1)
        elif isinstance(value, tuple):
            for item in value:
                self._note(item, depth + 1)
        elif not callable(value) and isinstance(getattr(value, "__dict__", None), dict):
            self._note(vars(value), depth + 1)

    def restore(self) -> None:
        """Put all of it back."""
        for value, before in self._containers:
            if _same(value, before):
                continue
            if isinstance(value, (dict, set)):
                value.clear()
                value.update(before)
            elif isinstance(value, list):
                value[:] = before
            else:
                value.clear()
                value.extend(before)
        for tensor, before, gradient in self._tensors:
            if tensor.shape != before.shape or tensor.dtype != before.dtype or tensor.device != before.device:
                tensor.data = before
            elif not torch.equal(tensor.detach(), before):
                tensor.data.copy_(before)
            if tensor.is_leaf and tensor.grad is not gradient:
                tensor.grad = gradient


def _same(value: Any, before: Any) -> bool:
    """Tell whether a container holds the very objects that it held before, in the same order."""
    if len(value) != len(before):
        return False
    if isinstance(value, dict) and list(map(id, value)) != list(map(id, before)):
        return False
    pair = (value.values(), before.values()) if isinstance(value, dict) else (value, before)
    return all(one is other for one, other in zip(*pair, strict=True))
