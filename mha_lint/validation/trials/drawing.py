"""The arguments of one call, drawn from their specs: always the same ones for the same seed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.validation.child.imports import quiet
from mha_lint.validation.search import factories
from mha_lint.validation.search.specs import (
    Assignment,
    Constant,
    DictSpec,
    MadeSpec,
    ObjectSpec,
    SizeSpec,
    Spec,
    TensorSpec,
    TupleSpec,
    WrittenSpec,
    size_of,
)


class Conditions(Struct, frozen=True):
    """``held`` is the dtype whose values the inputs take, where ``dtype`` is wider than that; None for ``dtype``.

    With ``default``, tensors that the code makes without naming a dtype get this one. With ``widened``, what the code
    casts to float32 on its way becomes float64. With ``autocast``, the module is called under autocast to float16.
    ``kernel`` is the one that attention has to take; "" where torch chooses.
    """

    device: str
    dtype: torch.dtype
    training: bool
    seed: int
    held: torch.dtype | None = None
    default: bool = False
    widened: bool = False
    autocast: bool = False
    kernel: str = ""

    @property
    def name(self) -> str:
        """The dtype, in words."""
        return "float16 under autocast" if self.autocast else str(self.dtype).removeprefix("torch.")


class Inputs(Struct):
    """Arguments for one call. ``leaves`` are where gradients arrive; ``shapes`` say it in words."""

    arguments: dict[str, Any] = field(default_factory=dict)
    leaves: dict[str, torch.Tensor] = field(default_factory=dict)
    shapes: tuple[str, ...] = ()


def make_inputs(
    specs: Mapping[str, Spec],
    assignment: Assignment,
    symbols: Mapping[str, int],
    vocabulary: int,
    conditions: Conditions,
) -> Inputs:
    """Draw the arguments on the CPU, in float64."""
    generator = torch.Generator().manual_seed(conditions.seed)
    drawing = _Arguments(conditions, assignment, {**symbols, **assignment.sizes}, vocabulary, generator)
    drawing.made.arguments.update({name: drawing.argument(name, spec) for name, spec in specs.items()})
    drawing.made.shapes = tuple(drawing.words)
    return drawing.made


class _Storage(Struct, frozen=True):
    """Describe how a tensor of a shape lies in memory: what is drawn has the shape ``stored``, and ``note`` says it."""

    shape: tuple[int, ...]
    stored: tuple[int, ...]
    note: str = ""

    def laid(self, value: torch.Tensor) -> torch.Tensor:
        """Return what was drawn, as a tensor of the shape."""
        if self.note == _TRANSPOSED:
            return value.transpose(-1, -2)
        return value.expand(self.shape) if self.note == _EXPANDED else value


_TRANSPOSED = " transposed storage"
_EXPANDED = " expanded batch"


def _storage(spec: TensorSpec, layout: str, shape: tuple[int, ...]) -> _Storage:
    if layout == "transposed" and len(shape) >= 2 and shape[-1] > 1 and shape[-2] > 1:
        return _Storage(shape, (*shape[:-2], shape[-1], shape[-2]), _TRANSPOSED)
    if layout == "expanded" and spec.dims[:1] == ("b",) and shape[0] > 1:
        return _Storage(shape, (1, *shape[1:]), _EXPANDED)
    return _Storage(shape, shape)


class _Arguments(Struct):
    """The arguments drawn so far, and what they are drawn with."""

    conditions: Conditions
    assignment: Assignment
    sizes: Mapping[str, int]
    vocabulary: int
    generator: torch.Generator
    made: Inputs = field(default_factory=Inputs)
    words: list[str] = field(default_factory=list)

    def argument(self, name: str, spec: Spec) -> Any:
        match spec:
            case TensorSpec():
                return self.tensor(name, spec)
            case TupleSpec(items):
                return tuple(self.tensor(f"{name}[{index}]", item) for index, item in enumerate(items))
            case DictSpec(named):
                return {key: self.argument(f"{name}[{key!r}]", item) for key, item in named}
            case SizeSpec(dims, single):
                values = tuple(size_of(dim, self.sizes) for dim in dims)
                return values[0] if single else values
            case Constant(value):
                return value
            case ObjectSpec(prototype):
                return copy.deepcopy(prototype)
            case WrittenSpec(text):
                with _seeded(self.conditions.seed):
                    value = eval(text, {"torch": torch, **self.sizes})
                return self.placed(name, value)
            case MadeSpec(factory, target, key):
                with _seeded(self.conditions.seed), quiet():
                    arguments = factories.made(factory, target, self.sizes)[1] or {}
                return self.placed(name, arguments[key])

    def tensor(self, name: str, spec: TensorSpec) -> torch.Tensor:
        storage = _storage(spec, self.assignment.layout, tuple(size_of(dim, self.sizes) for dim in spec.dims))
        draw = _DRAWN.get(spec.kind)
        value = self.floats(name, storage) if draw is None else draw(self, storage)
        self.words.append(f"{name}: {storage.shape}{storage.note}")
        return value.to(self.conditions.device)

    def floats(self, name: str, storage: _Storage) -> torch.Tensor:
        drawn = torch.randn(storage.stored, generator=self.generator, dtype=torch.float64)
        leaf = self.held(drawn).requires_grad_()
        self.made.leaves[name] = leaf
        return storage.laid(leaf.clone())  # no leaf itself, so that the code may write into it

    def held(self, value: torch.Tensor) -> torch.Tensor:
        """The numbers on the device, in the trial's dtype, as far as the dtype that holds them can tell them."""
        held = value.to(self.conditions.device, self.conditions.held or self.conditions.dtype)
        return held.to(self.conditions.dtype)

    def placed(self, name: str, value: Any) -> Any:
        """A value that the user wrote, its tensors on the device, floats in the trial's dtype."""
        match value:
            case torch.Tensor():
                self.words.append(f"{name}: {tuple(value.shape)}")
                if not value.is_floating_point():
                    return value.to(self.conditions.device)
                self.made.leaves[name] = self.held(value.detach()).requires_grad_()
                return self.made.leaves[name].clone()
            case tuple() | list():
                return type(value)(self.placed(f"{name}[{index}]", item) for index, item in enumerate(value))
            case dict():
                return {key: self.placed(f"{name}[{key!r}]", item) for key, item in value.items()}
            case _:
                return value


def _booleans(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    drawn = torch.rand(storage.stored, generator=drawing.generator) < 0.7
    if len(storage.shape) >= 2:
        drawn |= torch.eye(storage.stored[-2], storage.stored[-1], dtype=torch.bool)
    return storage.laid(drawn)


def _tokens(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    return storage.laid(torch.randint(0, max(1, drawing.vocabulary), storage.stored, generator=drawing.generator))


def _positions(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    return torch.arange(storage.shape[-1]).expand(storage.shape).clone()


def _lengths(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    return torch.randint(1, drawing.sizes["t"] + 1, storage.shape, generator=drawing.generator)


def _cumulative(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    return torch.tensor([0, storage.shape[0]], dtype=torch.int32)


def _phases(drawing: _Arguments, storage: _Storage) -> torch.Tensor:
    angle = torch.rand(storage.shape, generator=drawing.generator, dtype=torch.float64)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


_DRAWN: Mapping[str, Callable[[_Arguments, _Storage], torch.Tensor]] = {
    "bool": _booleans,
    "ids": _tokens,
    "positions": _positions,
    "lengths": _lengths,
    "cumulative": _cumulative,
    "complex": _phases,
}  # by the kind of a spec; floats otherwise


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
