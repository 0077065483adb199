"""Numbers in messages, as the user writes them."""

from __future__ import annotations

import re
from ast import literal_eval
from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from mha_lint.model.places import Places


def number_text(number: float, written: cst.BaseExpression | None, places: Places) -> str:
    """Return the literal that the code has for a number, or the shortest one where the code has none.

    The code has none where it names the number or calculates it: ``NEGATIVE``, ``float("-1e-9")``.
    """
    if written is not None and _is_literal(written):
        source = places.source(written)
        if literal_eval(source) == number:
            return source
    return shortest(number)


def shortest(number: float) -> str:
    """Write a number as people do: ``-1e9`` and ``-1e-9``, not ``-1e+09`` and ``-1e-09``."""
    return re.sub(r"e([+-])0*(?=\d)", lambda sign: "e" + sign[1].replace("+", ""), f"{number:g}")


def _is_literal(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, (cst.Minus, cst.Plus)):
        return _is_literal(node.expression)
    return isinstance(node, (cst.Float, cst.Integer))
