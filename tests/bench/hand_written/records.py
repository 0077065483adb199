"""What the reading of one function notes: products, softmaxes, and what became of them."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

Path = tuple[tuple[int, int], ...]  # the branches that enclose a statement: of which `if`, which arm


@dataclass(eq=False)
class Product:
    """A product of two tensors, which may be scores; or scores of which only the name is known (node is then None)."""

    node: ast.expr | None
    letters: int | None = None  # the rank, where an einsum spells it
    forms: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    masks: set[str] = field(default_factory=set)  # what the scores were filled by, as it is written


@dataclass(frozen=True)
class Use:
    """Weights as an operand of a later product."""

    node: ast.expr
    path: Path
    reason: str | None  # why this product is not one with values


@dataclass(eq=False)
class Softmax:
    """A softmax of scores, and where the weights go."""

    node: ast.Call
    dim: str | None
    products: tuple[Product, ...]
    forms: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    used: dict[int, Use] = field(default_factory=dict)
    kept: dict[str, ast.AST] = field(default_factory=dict)  # "returned", "stored", "appended", "handed to X"


@dataclass(frozen=True)
class Tag:
    """A part of a value: scores or weights. ``turned``: the last two dims changed places (None: unknown)."""

    record: Product | Softmax
    turned: bool | None = False


@dataclass(frozen=True)
class Class_:
    """What a class says of itself and its relatives in the file."""

    methods: frozenset[str]
    softmaxes: dict[str, str | None]  # attribute -> dim of the layer as text
    fused: bool


@dataclass(frozen=True)
class Site:
    """One hand-written attention: what a rewrite would replace."""

    path: str
    function: str
    first: int  # the row of the first product of queries and keys (of the softmax, if another function made the scores)
    softmax: int
    last: int  # the row of the last product with values
    end: int
    kind: str  # "drops its weights" | "returns or stores the weights" | "dispatcher"
    forms: tuple[str, ...]
    reasons: tuple[str, ...]  # why a rewrite is not legal, or the rule is silent on purpose
    kept: tuple[str, ...]  # how the weights leave


DROPS = "drops its weights"
KEEPS = "returns or stores the weights"
DISPATCHES = "dispatcher"
