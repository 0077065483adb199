"""In which order sizes were put into a dimension, or dimensions into a view."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from mha_lint.model.layout import Shape
from mha_lint.model.sizes import Size


@dataclass(frozen=True, slots=True)
class Part:
    """One of the sizes that a dimension was merged, or repeated, of; None where it is not known.

    ``alike`` where the numbers come again and again along it.
    """

    size: Size | None
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """The order of the sizes in one dimension, the outermost first. ``dim`` counts from the end.

    ``repeated`` is the call that repeated the tensor along it.
    """

    dim: int
    parts: tuple[Part, ...]
    repeated: ast.expr | None = None


@dataclass(frozen=True)
class Reordered:
    """A view that laid a tensor of this ``shape`` out in another order of its dimensions."""

    node: ast.expr
    shape: Shape
