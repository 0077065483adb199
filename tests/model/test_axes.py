"""The roles of sizes: dimensions of results of unknown rank are named by others."""

from __future__ import annotations

from mha_lint.model.axes import AxisRoles
from mha_lint.model.keys import dimension, result
from mha_lint.model.sizes import constant, symbol


def test_sizes_that_are_named_by_one_another_are_named_once() -> None:
    axes = AxisRoles()
    axes.begin(None)
    first, second = result(1), result(2)
    one, other = symbol(dimension(first, 0)), symbol(dimension(second, 0))
    axes.alike(first, (other * constant(2), None))
    axes.alike(second, (one * constant(2), None))  # a loop that halves and doubles
    assert axes.named(one * other) == other * other * constant(8)
