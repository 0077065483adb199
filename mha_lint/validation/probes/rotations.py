"""Follow rotated queries and keys through one call: what was multiplied by cosines and sines, up to their products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.validation.probes.operations import CONVOLUTIONS
from mha_lint.validation.probes.subject import Subject
from mha_lint.validation.probes.trace import plain_attention
from mha_lint.validation.probes.watching import Watching
from mha_lint.validation.trials import trial

_CLOSE = 2e-2  # tables may be kept in half precision
_SAME = 1e-3  # of the largest value: in half precision products may round otherwise from row to row
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
_LOSES = frozenset((*CONVOLUTIONS, "_softmax", "_safe_softmax", "softmax"))
_FEWEST = 3  # positions that tell a progression


class Turn(Struct, frozen=True):
    """By what a tensor was multiplied: candidates for cosines and sines, and signs that more was done to it."""

    tables: frozenset[int] = frozenset()
    marks: frozenset[str] = frozenset()


class Table(Struct, frozen=True, eq=False):
    """Something that nothing learned is in, of magnitude 1 at most, and which dims of what it met were constant."""

    values: torch.Tensor
    constant: frozenset[int] = frozenset()  # sizes of dims along which what it was multiplied with does not change
    behind: frozenset[int] = frozenset()  # and of those along which it does not change behind the first, a class token


class Rotation(Struct, frozen=True, eq=False):
    """Cosines and sines for ``length`` positions that follow each other; ``step`` turns by one position."""

    length: int
    step: torch.Tensor
    first: int | None  # what was rotated was the same from this position on; None where it changes further on


class Product(Struct, frozen=True, eq=False):
    """Scores of two things that were both rotated."""

    scores: torch.Tensor
    sides: tuple[Turn, Turn]


class Rotations(Struct):
    """Record what one call rotated."""

    tables: list[Table] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    outputs: list[tuple[torch.Tensor, Turn]] = field(default_factory=list)

    def of(self, turn: Turn) -> Rotation | None:
        """Return the rotation that a tensor went through; None if there is none, or its positions are no sequence."""
        tables = [self.tables[place] for place in sorted(turn.tables)]
        found: Rotation | None = None
        explained: set[int] = set()
        for place, (one, other) in self._candidates(tables):
            explained |= place
            values = one.values
            if other is not None:
                values = torch.complex(values.double(), other.values.double())
            if found is None and (known := _progression(values)):
                length, step = known
                behind = 1 if length in one.behind else None
                found = Rotation(length, step, 0 if length in one.constant else behind)
        if found is None:
            return None
        rest = [table for count, table in enumerate(tables) if count not in explained]
        if any(_varies(table.values, found.length) for table in rest):
            return None
        return found

    @staticmethod
    def _candidates(tables: list[Table]) -> Iterator[tuple[set[int], tuple[Table, Table | None]]]:
        """Yield complex tables, and pairs of real ones that may be cosines and sines, with their places."""
        for count, one in enumerate(tables):
            if one.values.is_complex():
                yield {count}, (one, None)
                continue
            for more, other in enumerate(tables[count + 1 :], count + 1):
                if not other.values.is_complex() and _is_pair(one.values, other.values):
                    yield {count, more}, (one, other)


def _varies(values: torch.Tensor, size: int) -> bool:
    """Tell whether it changes along a dim of this size."""
    dims = [dim for dim, each in enumerate(values.shape) if each == size]
    return any(not bool((values == values.narrow(dim, 0, 1)).all()) for dim in dims)


def _is_pair(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether they may be cosines and sines of the same angles."""
    if one.shape != other.shape:
        return False
    return bool(((one.double() ** 2 + other.double() ** 2 - 1).abs() < _CLOSE).all())


def _progression(values: torch.Tensor) -> tuple[int, torch.Tensor] | None:
    """Return how many positions turn by one angle after another, and by which; None where they do not."""
    for dim in range(values.dim() - 1):
        if values.shape[dim] < _FEWEST:
            continue
        moved = values.to(torch.complex128).movedim(dim, 0)
        steps = moved[1:] * moved[:-1].conj()
        if bool(((steps - steps[:1]).abs() < _CLOSE).all()) and bool(((steps[0] - 1).abs() > _CLOSE).any()):
            return values.shape[dim], steps[0].reshape(-1)
    return None


class _Following(Watching):
    """Watches one call."""

    def __init__(self, subject: Subject) -> None:
        Watching.__init__(self)
        self.found = Rotations()
        self._turns: dict[int, tuple[torch.Tensor, Turn]] = {}  # the tensor is kept alive, so that its id stays its own
        self._learned: dict[int, torch.Tensor] = {}
        for part in subject.owner.modules() if subject.owner is not None else ():
            self._learned |= {id(value): value for value in part._parameters.values() if value is not None}

    def turn(self, value: Any) -> Turn:
        known = self._turns.get(id(value))
        return known[1] if known is not None else Turn()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        is_written = name.endswith("_") and not name.endswith("__")
        name = name.removesuffix("_") if is_written else name
        operands = _tensors((args, tuple(kwargs.values())))
        results = [value for value in _tensors((out,)) if value.is_floating_point() or value.is_complex()]
        if name in _PRODUCTS:
            self._product(name, args)
        elif results and name not in _LOSES:
            self._pointwise(name, operands, results)
        if is_written and isinstance(args[0], torch.Tensor) and args[0]._base is not None:
            base = args[0]._base
            self._set(base, _joined([self.turn(base), self.turn(args[0])]))
        return out

    def _product(self, name: str, args: tuple[Any, ...]) -> None:
        left, right = args[-2:] if name in ("mm", "bmm") else args[1:3]
        sides = self.turn(left), self.turn(right)
        if sides[0].tables and sides[1].tables:
            self.found.products.append(Product((left @ right).detach(), sides))

    def _pointwise(self, name: str, operands: list[torch.Tensor], results: list[torch.Tensor]) -> None:
        learned = [value for value in operands if id(value) in self._learned]
        if operands and len(learned) == len(operands):
            self._learned |= {id(value): value for value in results}
            return
        turn = _joined([self.turn(value) for value in operands])
        if turn.tables and learned:
            turn = replace(turn, marks=turn.marks | {"a parameter meets it after the rotation"})
        if name == "mul" and len(operands) == 2:
            turn = self._multiplied(turn, operands)
        if turn.tables or turn.marks:
            for value in results:
                self._set(value, turn)

    def _multiplied(self, turn: Turn, operands: list[torch.Tensor]) -> Turn:
        for table, value in (operands, operands[::-1]):
            if self.turn(table).tables or id(table) in self._learned or table.dim() < 2 or table.numel() < _FEWEST:
                continue
            if not bool(table.abs().max() <= 1 + _CLOSE):
                if self.turn(value).tables:
                    turn = replace(turn, marks=turn.marks | {"it is multiplied once more after the rotation"})
                continue
            if table.is_complex() and not bool(((table.abs() - 1).abs() < _CLOSE).all()):
                continue
            self.found.tables.append(Table(table.detach().clone(), _constant_sizes(value), _constant_sizes(value, 1)))
            turn = replace(turn, tables=turn.tables | {len(self.found.tables) - 1})
        return turn

    def _set(self, value: torch.Tensor, turn: Turn) -> None:
        self._turns[id(value)] = value, turn


def _joined(turns: list[Turn]) -> Turn:
    return Turn(frozenset().union(*(turn.tables for turn in turns)), frozenset().union(*(turn.marks for turn in turns)))


def _constant_sizes(value: torch.Tensor, first: int = 0) -> frozenset[int]:
    """Return the sizes of dims along which nothing changes from an entry on, but for the rounding of products."""
    sizes = []
    allowed = _SAME * value.abs().max()
    for dim, size in enumerate(value.shape):
        if size <= first + 1:
            continue
        rest = value.narrow(dim, first, size - first)
        if bool(((rest - rest.narrow(dim, 0, 1)).abs() <= allowed).all()):
            sizes.append(size)
    return frozenset(sizes)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [each for item in value for each in _tensors(item)]
    return []


def followed(subject: Subject) -> Rotations:
    """Run one call and return what it rotated; whatever it raises passes through."""
    arguments = subject.fresh()
    following = _Following(subject)
    try:
        trial.seed_everything(subject.seed)
        with plain_attention(), following:
            result = subject.call(arguments)
        leaves = [value for _, value in trial.flatten(result, "output") if isinstance(value, torch.Tensor)]
        following.found.outputs = [(value, following.turn(value)) for value in leaves if following.turn(value).tables]
    finally:
        subject.state.restore()
    return following.found
