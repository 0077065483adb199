"""Follow the factors of angles as they would be if nothing had rounded them to half precision.

A cast to half precision at a flagged statement is what a repair of "half phase" is about. From there on, every value is
computed twice: as the code has it, and from the numbers that were cast. Where cosines or sines are taken, the second
value tells what the code means, and how far the first is from it. The text of the fixer takes no part in this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct, field
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from mha_lint.validation.relations.holding import asking, calling_row
from mha_lint.validation.trials.coverage import Statement

_Named = dict[str, Any]
_Function = Callable[..., Any]

HALVES = (torch.bfloat16, torch.float16)
_MOST = 1 << 22  # elements of what is followed: a table of angles has fewer, and what it is multiplied by has more
_TURNS: dict[str, _Function] = {
    "cos": torch.cos,
    "cos_": torch.cos,
    "sin": torch.sin,
    "sin_": torch.sin,
    "polar": torch.polar,
}
_COUNTS = frozenset({"arange", "linspace", "logspace", "full", "tensor", "as_tensor"})
_CASTS = frozenset({"to", "type", "type_as", "half", "bfloat16", "float", "double", "cpu", "cuda"})
_FOLLOWED = frozenset({
    "mul", "__mul__", "__rmul__", "multiply", "__imul__", "div", "divide", "true_divide", "__truediv__",
    "__rtruediv__", "__rdiv__", "__itruediv__", "pow", "__pow__", "__rpow__", "float_power", "exp", "exp2", "log",
    "reciprocal", "neg", "negative", "__neg__", "add", "__add__", "__radd__", "__iadd__", "sub", "subtract", "__sub__",
    "__rsub__", "__isub__", "rsub", "outer", "ger", "einsum", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm",
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as",
    "broadcast_to", "repeat", "repeat_interleave", "tile", "transpose", "swapaxes", "permute", "movedim", "t",
    "contiguous", "clone", "detach", "cat", "concat", "stack", "__getitem__", "index_select", "flip", "chunk", "split",
    "unbind", "meshgrid", "__get__",
})  # fmt: skip


class Turn(Struct, frozen=True):
    """One call that took cosines or sines, at ``row`` of the file.

    ``exact`` is what it gives for angles that nothing has rounded, and ``off`` the largest error of the angles; None
    where no factor of them was cast.
    """

    row: int
    given: torch.Tensor
    exact: torch.Tensor | None = None
    off: float = 0.0


class Turns(Struct):
    """The calls of one run that took cosines or sines, in their order."""

    seen: list[Turn] = field(default_factory=list)


class Followed(TorchFunctionMode):
    """Follow what the flagged ``statements`` of ``file`` cast to half precision, in the type ``wide``.

    With ``turns``, each call that takes cosines or sines is noted there, and gives what it gives. Without, it gives the
    cosines and sines of the angles that nothing has rounded, in its own type. Statements that cast join ``met``.
    """

    def __init__(
        self,
        file: str,
        statements: frozenset[Statement],
        wide: torch.dtype,
        met: set[Statement] | None = None,
        turns: Turns | None = None,
    ) -> None:
        super().__init__()
        self._file = file
        self._statements = statements
        self._wide = wide
        self._met = set() if met is None else met
        self._turns = turns
        self._whole: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by the identity of what the code has
        self._turned: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # what is taken, and what is meant

    def __torch_function__(
        self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: _Named | None = None
    ) -> Any:
        named = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__setitem__":
            return self._written(func, args)
        result = func(*args, **named)
        if name in _TURNS:
            return self._turn(name, args, named, result, calling_row(self._file))
        if name in _COUNTS or name in _CASTS:
            statement = asking(self._file, self._statements) if _is_half(result) else None
            self._cast(func, name, args, named, result, statement)
        elif self._whole and (name in _FOLLOWED or name.removesuffix("_") in _FOLLOWED):
            self._follow(func, name, args, named, result)
        return result

    def _of(self, value: Any) -> torch.Tensor | None:
        """The value as it would be; None for what is not followed."""
        found = self._whole.get(id(value))
        return None if found is None else found[1]

    def _keep(self, value: Any, whole: Any) -> None:
        is_known = isinstance(value, torch.Tensor) and isinstance(whole, torch.Tensor) and value.is_floating_point()
        if is_known and value.shape == whole.shape and value.numel() <= _MOST:
            self._whole[id(value)] = (value, whole)

    def _written(self, func: _Function, args: tuple[Any, ...]) -> Any:
        """A table that cosines or sines are written into has them in its own type."""
        self._whole.pop(id(args[0]), None)
        known = self._turned.get(id(args[-1])) if self._turns is None else None
        return func(*args) if known is None else func(*args[:-1], known[1])

    def _cast(
        self,
        func: _Function,
        name: str,
        args: tuple[Any, ...],
        named: _Named,
        result: Any,
        statement: Statement | None,
    ) -> None:
        """Keep what is cast as it was, and what is counted in half precision as it is in the wide type."""
        source = args[0] if args else None
        if name in _CASTS and (whole := self._of(source)) is not None:
            self._keep(result, whole.to(result.device, torch.promote_types(whole.dtype, result.dtype)))
            return
        if statement is None:
            return
        if name in _COUNTS:
            self._met.add(statement)
            self._keep(result, func(*args, **{**named, "dtype": self._wide}))
        elif isinstance(source, torch.Tensor) and not _is_half(source) and id(source) not in self._turned:
            self._met.add(statement)
            self._keep(result, source.to(result.device, self._wide))

    def _follow(self, func: _Function, name: str, args: tuple[Any, ...], named: _Named, result: Any) -> None:
        """Compute once more what depends on a value that is followed."""
        if name == "__get__" and not isinstance(result, torch.Tensor):
            return
        leaves, tree = pytree.tree_flatten((args, dict(named)))
        whole = [self._of(leaf) for leaf in leaves]
        if all(each is None for each in whole):
            return
        others = [self._beside(leaf) if each is None else each for leaf, each in zip(leaves, whole, strict=True)]
        if name.endswith("_") and not name.startswith("__"):
            others[0] = others[0].clone() if isinstance(others[0], torch.Tensor) else others[0]
        again_args, again_named = pytree.tree_unflatten(others, tree)
        try:
            again = func(*again_args, **again_named)
        except (RuntimeError, TypeError, ValueError):
            return  # such as a product of two types: then what the code has is all that is known
        for one, other in zip(pytree.tree_leaves(result), pytree.tree_leaves(again), strict=False):
            self._keep(one, other)

    def _beside(self, leaf: Any) -> Any:
        """An operand that is not followed, as wide as the reference is; it is no part of what the code means."""
        is_wider = self._turns is not None and isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        return leaf.to(self._wide) if is_wider else leaf

    def _turn(self, name: str, args: tuple[Any, ...], named: _Named, result: Any, row: int | None) -> Any:
        """Return what a call means that takes cosines or sines, or note it, and return what it gave."""
        is_polar = name == "polar"
        angles = named.get("angle", args[1] if len(args) > 1 else None) if is_polar else (args[0] if args else None)
        whole = self._of(angles)
        if not isinstance(result, torch.Tensor) or not isinstance(angles, torch.Tensor):
            return result
        exact = None
        if whole is not None:
            length = named.get("abs", args[0] if args else None) if is_polar else None
            exact = torch.polar(length.to(whole.dtype), whole) if length is not None else _TURNS[name](whole)
        if self._turns is not None:
            off = 0.0 if whole is None or name.endswith("_") else float(distance(angles, whole))
            if row is not None:
                self._turns.seen.append(Turn(row, result.detach().clone(), exact, off))
        elif exact is not None:
            result = result.copy_(exact) if name.endswith("_") else exact.to(result.dtype)
        self._turned[id(result)] = (result, result if exact is None else exact)
        return result


@contextlib.contextmanager
def as_meant(file: str, statements: frozenset[Statement], met: set[Statement]) -> Iterator[None]:
    """Let the flagged ``statements`` of ``file`` give the cosines and sines of angles that float32 holds."""
    with Followed(file, statements, torch.float32, met):
        yield


@contextlib.contextmanager
def noted(
    file: str, statements: frozenset[Statement], turns: Turns, wide: torch.dtype = torch.float64
) -> Iterator[None]:
    """Note the cosines and sines that are taken beside those that float64, or another type, gives."""
    with Followed(file, statements, wide, turns=turns):
        yield


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in HALVES


def distance(value: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest distance of two tensors; infinite where one of them is not finite."""
    wide = torch.complex128 if exact.is_complex() else torch.float64
    apart = (value.detach().to(wide) - exact.detach().to(wide)).abs()
    if not apart.numel():
        return 0.0
    return float(apart.max()) if bool(torch.isfinite(apart).all()) else float("inf")
