"""The scale of scores, followed from the product of queries and keys to the softmax, and put right at the product."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace
from torch.overrides import TorchFunctionMode

PROBE = "unit score variance"
_PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "bmm", "einsum", "baddbmm"})
_SCALINGS = frozenset({"mul", "mul_", "multiply", "div", "div_", "divide", "true_divide", "__truediv__"})
_SAME_SCALE = frozenset(
    "view reshape transpose permute contiguous unsqueeze squeeze expand float double half to type type_as clone "
    "flatten unflatten __getitem__ masked_fill masked_fill_ where add add_ sub sub_ chunk split unbind swapaxes "
    "movedim repeat_interleave tril triu detach __get__ cat concat concatenate pad narrow roll".split()
)
_OF_SEVERAL = frozenset("where add sub".split())
_LISTED = frozenset("cat concat concatenate".split())  # the first argument is a list of tensors
_ANEW = frozenset("linear conv1d conv2d conv3d layer_norm group_norm batch_norm dropout".split())  # no scores any more
_SOFTMAXES = frozenset({"softmax", "log_softmax"})


class Product(Struct, frozen=True):
    """A product that reaches a softmax: its place among the products of the file's code, and how it is scaled.

    ``width`` is that of the dim which it sums over.
    """

    place: int
    row: int
    width: int
    scale: float

    @property
    def factor(self) -> float:
        """Return the factor by which its scale is to be multiplied, for scores of variance 1; 1 where they have it."""
        factor = float(self.width) ** -0.5 / self.scale
        return 1.0 if math.isclose(factor, 1.0, rel_tol=1e-6) else factor


class _Made(Struct, frozen=True):
    """Of which product a tensor is made, and by what it was scaled since; no product where it is a query or a key.

    With ``is_lost``, it is made of a product in a way that is not followed.
    """

    product: tuple[int, int, int] | None  # place, row, width
    scale: float
    is_lost: bool = False


class Scores(Struct):
    """Hold the products that :class:`Followed` saw reach a softmax, and how many the file's code computes in all.

    ``is_whole`` is False where more reaches a softmax than is followed.
    """

    products: list[Product] = field(default_factory=list)
    count: int = 0
    is_whole: bool = True


class Followed(TorchFunctionMode):
    """Follows how the products of the code that ``row_of_file`` knows are scaled on their way into a softmax."""

    def __init__(self, row_of_file: Callable[[], int | None]) -> None:
        super().__init__()
        self._row = row_of_file
        self.scores = Scores()
        self._made: dict[int, tuple[Any, tuple[_Made, ...]]] = {}  # with the tensor, lest its id be given again

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        name = getattr(func, "__name__", "")
        made = self._of(args[0]) if args else ()
        if name in _SOFTMAXES:
            self._reach(made)
        out = func(*args, **named)
        if name == "scaled_dot_product_attention":
            self._attend(args, named)
        elif name in _PRODUCTS:
            self._multiply(args, named, out, name)
        elif name in _SCALINGS:
            self._scale(args, out, divides=name not in ("mul", "mul_", "multiply"))
        elif name in _SAME_SCALE:
            operands = args[0] if name in _LISTED else args[:3] if name in _OF_SEVERAL else args[:1]
            self._keep(out, tuple(each for value in operands for each in self._of(value)))
        elif name not in _ANEW and name not in _SOFTMAXES:
            self._keep(out, self._lost(args))
        return out

    def _of(self, value: Any) -> tuple[_Made, ...]:
        known = self._made.get(id(value))
        return known[1] if known is not None and isinstance(value, torch.Tensor) else ()

    def _keep(self, out: Any, made: tuple[_Made, ...]) -> None:
        for each in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(each, torch.Tensor):
                self._made[id(each)] = (each, made)

    def _lost(self, values: tuple[Any, ...]) -> tuple[_Made, ...]:
        """The products that the values are made of, which are not followed any further."""
        made = (each for value in values for each in self._of(value) if each.product is not None)
        return tuple(replace(each, is_lost=True) for each in made)

    def _reach(self, made: tuple[_Made, ...]) -> None:
        for each in made:
            if each.is_lost:
                self.scores.is_whole = False
            elif each.product is not None and each.scale:
                self.scores.products.append(Product(*each.product, each.scale))

    def _scale(self, args: tuple[Any, ...], out: Any, *, divides: bool) -> None:
        value, number = args[0], args[1] if len(args) > 1 else None
        if not divides and not isinstance(value, torch.Tensor):
            value, number = number, value
        known = _number(number)
        if not divides and known is None:
            value, known = number, _number(value)
        if known is None or not known or not isinstance(value, torch.Tensor):
            self._keep(out, self._lost(args))
            return
        factor = 1 / known if divides else known
        made = self._of(value) or (_Made(None, 1.0),)
        self._keep(out, tuple(replace(each, scale=each.scale * factor) for each in made))

    def _multiply(self, args: tuple[Any, ...], named: Mapping[str, Any], out: Any, name: str) -> None:
        row = self._row()
        if row is None:
            return
        place = self.scores.count
        self.scores.count += 1
        operands = args[1:] if name in ("einsum", "baddbmm") else args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
        if len(operands) != 2 or not all(isinstance(value, torch.Tensor) for value in operands):
            return
        width = _summed(args[0], operands) if name == "einsum" else operands[0].shape[-1]
        if width is None:
            return
        scale = float(named.get("alpha", 1.0)) if name == "baddbmm" else 1.0
        self._keep(out, (_Made((place, row, width), scale * self._own(operands[0]) * self._own(operands[1])),))

    def _own(self, value: torch.Tensor) -> float:
        return math.prod(each.scale for each in self._of(value) if each.product is None)

    def _attend(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        row = self._row()
        if row is None or len(args) < 2:
            return
        width = args[0].shape[-1]
        scale = named.get("scale") or width**-0.5
        total = scale * self._own(args[0]) * self._own(args[1])
        self.scores.products.append(Product(self.scores.count, row, width, total))
        self.scores.count += 1


class Rescaled(TorchFunctionMode):
    """Multiplies products by ``factors``, by their place among the ``count`` of one call of the module."""

    def __init__(self, row_of_file: Callable[[], int | None], factors: Mapping[int, float], count: int) -> None:
        super().__init__()
        self._row = row_of_file
        self._factors, self._count = factors, count
        self._place = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        attends = name == "scaled_dot_product_attention"
        if (name not in _PRODUCTS and not attends) or self._row() is None:
            return func(*args, **named)
        factor = self._factors.get(self._place % self._count)
        self._place += 1
        if factor is None:
            return func(*args, **named)
        if attends:
            named["scale"] = factor * (named.get("scale") or args[0].shape[-1] ** -0.5)
            return func(*args, **named)
        if name == "baddbmm":
            named["alpha"] = factor * named.get("alpha", 1.0)
            return func(*args, **named)
        return func(*args, **named) * factor


def _number(value: Any) -> float | None:
    """A number, or a tensor of one that nothing learns."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 and not value.requires_grad else None
    return float(value) if isinstance(value, (int, float)) else None


def _summed(equation: Any, operands: tuple[torch.Tensor, ...]) -> int | None:
    """The size of the dims that an einsum of two sums over; None where that can't be told."""
    if not isinstance(equation, str) or "->" not in equation:
        return None
    inputs, _, output = equation.replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    ahead, _, behind = left.rpartition("...")
    sizes = dict(zip(ahead, operands[0].shape, strict=False)) if ahead else {}
    sizes |= dict(zip(behind[::-1], operands[0].shape[::-1], strict=False))
    summed = [letter for letter in behind + ahead if letter in right and letter not in output]
    return math.prod(sizes[letter] for letter in summed) if summed else None
