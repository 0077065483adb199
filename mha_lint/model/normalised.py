"""Along which dimension weights sum to one, and which softmax made them so."""

from __future__ import annotations

import ast

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.marks import Masking


class Normalised(Struct, frozen=True):
    """The softmax that made weights sum to one: its call, or that of its layer, and along which dimension.

    ``dim`` counts from the end, or, of a tensor of unknown rank, as it was written. A view may have split the dimension
    in ``parts``, the last of which is ``dim``. ``implicit`` where the code names none, and torch chooses. ``masked`` is
    in which ways that was masked which the softmax was given.
    """

    node: ast.expr
    dim: int
    implicit: bool = False
    parts: int = 1
    masked: frozenset[Masking] = frozenset()

    def of_rank(self, rank: int) -> Normalised:
        """The same, where it has become known of how many dimensions the tensor is."""
        return self if self.dim < 0 or self.dim >= rank else replace(self, dim=self.dim - rank)

    @property
    def dims(self) -> range:
        """All the dimensions, counted as ``dim`` is, along which together the weights sum to one."""
        return range(self.dim - self.parts + 1, self.dim + 1)
