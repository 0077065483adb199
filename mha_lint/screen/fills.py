"""What fills, masks and products may be of what rules about masks look for, as far as facets tell."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.screen import facets as fc
from mha_lint.screen.facets import HUGE, MARKED, NOUGHT, SCORES, TINY, TRIANGULAR, WEIGHTS, Facets, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mha_lint.screen.look import Look

HALF_MAX = 65504.0
SMALL = 1e-3


def number(value: float) -> Facets:
    """The facets of a literal."""
    size = abs(float(value))
    if size == 0:
        return NOUGHT
    return TINY if size <= SMALL else HUGE if HALF_MAX < size < float("inf") else 0


def number_of_text(node: ast.expr) -> Facets:
    """The facets of ``float("1e-9")``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return number(float(node.value))
        except ValueError:
            pass
    return 0


def fill(look: Look, tensor: Value, mask: Value, values: Sequence[Value], *, raises: bool = False) -> None:
    """Scores, weights or others are filled with one of the values where a mask says so."""
    filled, given = fc.facets(tensor), 0
    for value in values:
        given |= fc.facets(value)
    if fc.facets(mask) & TRIANGULAR:
        look.suspect("polarity")
    if given & HUGE and raises:
        look.suspect("half")
    if given & TINY or (given & NOUGHT and filled & SCORES):
        look.suspect("vain")
    if given & NOUGHT and filled & WEIGHTS:
        look.suspect("late")


def product(look: Look, left: Value, right: Value) -> None:
    """Scores or weights may be multiplied by a mask."""
    first, second = fc.facets(left), fc.facets(right)
    for about, other in ((first, second), (second, first)):
        if other & MARKED:
            if about & SCORES:
                look.suspect("vain")
            if about & WEIGHTS:
                look.suspect("late")


def total(look: Look, left: Value, right: Value) -> None:
    """A mask may be added to scores."""
    first, second = fc.facets(left), fc.facets(right)
    if (first & SCORES and second & TRIANGULAR) or (second & SCORES and first & TRIANGULAR):
        look.suspect("polarity")


def attention(look: Look, *masks: Value) -> None:
    """A function or layer is given masks."""
    given = 0
    for mask in masks:
        given |= fc.all_facets(mask)
    if given & TRIANGULAR:
        look.suspect("polarity")
    if given & MARKED:
        look.suspect("number")
