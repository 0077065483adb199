"""What vectors are to a rotary embedding and to a cache of keys: rotated, or joined to those of earlier calls."""

from __future__ import annotations

import ast

from msgspec import Struct

from mha_lint.comparing import compared_without


@compared_without("node", "calls", "counted")
class Rotated(Struct, frozen=True):
    """Vectors that were rotated in the expression ``node``, to which ``calls`` led, the innermost first.

    ``at_zero`` where their positions are told by code that begins at 0, whatever came before: ``counted`` is the
    expression that does, such as ``torch.arange(t)``.
    """

    at_zero: bool
    node: ast.expr
    calls: tuple[ast.expr, ...] = ()
    counted: ast.expr | None = None


@compared_without("node")
class Joined(Struct, frozen=True):
    """Earlier vectors, which the function is given or the object keeps, and new ones behind them.

    ``node`` is the call that joins them, and ``new`` tells how the new ones were rotated, if they were.
    """

    new: Rotated | None
    node: ast.expr


class WrittenSeen(Struct, frozen=True):
    """New keys, which were rotated, are written behind those of earlier calls, on some path through ``symbol``."""

    node: ast.expr
    rotated: Rotated
    symbol: str


class Complex(Struct, frozen=True):
    """The pairs of a vector as complex numbers, which turn by a product."""


@compared_without("counted")
class Turning(Struct, frozen=True):
    """One term of a rotation by a table of which less is known; ``at_zero`` and ``counted`` are those of the table."""

    at_zero: bool = False
    counted: ast.expr | None = None
