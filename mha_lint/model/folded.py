"""In which order sizes were put into a dimension, or dimensions into a view."""

from __future__ import annotations

import ast

from msgspec import Struct

from mha_lint.model.layout import Shape
from mha_lint.model.sizes import Size


class Part(Struct, frozen=True):
    """One of the sizes that a dimension was merged, or repeated, of; None where it is not known.

    ``alike`` where the numbers come again and again along it.
    """

    size: Size | None
    alike: bool = False


class Fold(Struct, frozen=True):
    """The order of the sizes in one dimension, the outermost first. ``dim`` counts from the end.

    ``repeated`` is the call that repeated the tensor along it.
    """

    dim: int
    parts: tuple[Part, ...]
    repeated: ast.expr | None = None


class Reordered(Struct, frozen=True):
    """A view that laid a tensor of this ``shape`` out in another order of its dimensions."""

    node: ast.expr
    shape: Shape
