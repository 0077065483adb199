"""Define what is known of the tensors of one call, and what the call was seen to do."""

from __future__ import annotations

import torch
from msgspec import Struct, field


class Scores(Struct, frozen=True):
    """Products of queries and keys. ``plain`` are they as scaled so far, before any mask or bias; None if not kept."""

    width: int  # of a head: what the product sums over
    plain: torch.Tensor | None = None
    causal: bool = False  # a triangular mask was applied
    masked: bool = False
    marks: frozenset[str] = frozenset()
    factors: tuple[Factor, ...] = ()  # numbers that they, or their queries and keys, were multiplied by


class Factor(Struct, frozen=True):
    """A number that something was multiplied by: in Python, or by torch's own attention on both sides of a product."""

    value: float
    is_fused: bool = False


class Weights(Struct, frozen=True):
    """The softmax of scores, and what became of it since."""

    scores: Scores
    shape: tuple[int, ...]  # as the softmax left them
    eps: float  # of the coarsest dtype so far
    marks: frozenset[str] = frozenset()  # why their sum need not be one


class Fact(Struct, frozen=True):
    """Hold what is known of a tensor."""

    sources: frozenset[str] = frozenset()  # the inputs that took part in it
    learned: bool = False  # a parameter took part
    multiplied: bool = False  # it comes from a product
    marks: frozenset[str] = frozenset()
    scores: Scores | None = None
    weights: Weights | None = None
    weighted: tuple[Weights, torch.Tensor] | None = None  # values times weights, not summed yet; the weights alone
    factors: tuple[Factor, ...] = ()  # numbers that it was multiplied by since it came from a product

    @property
    def is_parameter(self) -> bool:
        """Tell whether it is a parameter, or made of parameters with no product."""
        return self.learned and not self.sources and not self.multiplied


class Applied(Struct, frozen=True):
    """Weights meeting their values: ``sums`` are what the weights add up to for each query.

    ``values`` are None where they were not kept; ``along`` is their dim of keys, from the end.
    """

    weights: Weights
    sums: torch.Tensor
    sources: frozenset[str]  # the inputs that queries, keys or values come from
    queries: int
    keys: int
    values: torch.Tensor | None = None
    along: int = -2


class Seen(Struct):
    """Record what one call did. ``softmaxes`` are the scores that each softmax of scores got."""

    applied: list[Applied] = field(default_factory=list)
    softmaxes: list[Scores] = field(default_factory=list)
    diagonals: list[Applied] = field(default_factory=list)  # weights of which the diagonal alone met values
    drawn: list[str] = field(default_factory=list)  # operations that took random numbers
    placed: list[str] = field(default_factory=list)  # operations to which places in the sequence matter
    biased: bool = False  # something was added to scores
    views: set[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)
    cuts: set[int] = field(default_factory=set)  # sizes of dims of which a part was taken
    sides: set[int] = field(default_factory=set)  # of the matrices of scores that a softmax got
    masks: set[str] = field(default_factory=set)  # inputs that met scores or weights in one operation, with no product
    compared: set[tuple[str, float]] = field(default_factory=set)  # inputs whose integers were compared with a number

    @property
    def lengths(self) -> frozenset[int]:
        """Return the numbers of queries and of keys that any weights are for."""
        return frozenset(size for each in self.applied for size in (each.queries, each.keys)) | self.sides
