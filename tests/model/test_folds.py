"""The order of the sizes in a merged or repeated dimension is torch's, and crossing orders are known as such."""

from __future__ import annotations

from typing import Any

import pytest

from mha_lint.model.attention import analyse
from mha_lint.model.keys import dimension, named
from mha_lint.model.order import crossed
from mha_lint.model.sizes import Size, constant, symbol
from mha_lint.model.values import Tensor
from mha_lint.syntax.module import Module

torch = pytest.importorskip("torch")

B, H, T = 2, 3, 5
SOURCE = """import torch


class Repeats(torch.nn.Module):
    def forward(self, x, h):
        b, t, _ = x.shape
        return {chain}
"""
CHAINS = (
    "x.repeat(h, 1, 1)",
    "x.tile((h, 1, 1))",
    "x.repeat_interleave(h, dim=0)",
    "x.repeat_interleave(h, 0)[:, None].squeeze(1)",
    "x.unsqueeze(0).expand(h, b, t, t).reshape(h * b, t, t)",
    "x[:, None].expand(b, h, t, t).reshape(-1, t, t)",
    "x.unsqueeze(1).repeat(1, h, 1, 1).view(b * h, t, t)",
    "x.repeat(h, 1, 1).view(h, b, t, t).transpose(0, 1).reshape(b * h, t, t)",
    "torch.cat([x] * h, dim=0)",
    "x.repeat(h, 1, 1).transpose(1, 2)",
    "x.transpose(0, 1).repeat(1, h, 1).transpose(0, 1)",
    "(x.repeat(h, 1, 1) * 2).softmax(-1)",
    "x.expand(b, t, t).repeat(h, 1, 1)[..., None].select(-1, 0)",
)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_first_dimension_holds_its_sizes_in_the_order_that_the_model_tells(chain: str) -> None:
    source = SOURCE.format(chain=chain)
    ((_, told),) = analyse(Module(source), every=True).classes[0].returns
    assert isinstance(told, Tensor)
    (fold,) = [each for each in told.folds if each.dim == -3]
    sizes = [B if part.size == symbol(dimension(named("x"), 0)) else H for part in fold.parts]
    assert sorted(sizes) == [B, H]
    assert [part.alike for part in fold.parts] == [size == H for size in sizes]
    scope: dict[str, Any] = {}
    exec(source, scope)
    rows = scope["Repeats"]()(torch.randn(B, T, T), H).reshape(*sizes, -1)
    along = sizes.index(H)
    assert bool((rows == rows.narrow(along, 0, 1)).all())
    assert not bool((rows == rows.narrow(1 - along, 0, 1)).all())


b, c, t, h, w = (symbol(named(name)) for name in "bcthw")
d = symbol(named("d"))


@pytest.mark.parametrize(
    ("source", "target", "moved", "kept"),
    [
        ((b, c, t), (b, t, c), (0, 2, 1), (0, 2, 1)),
        ((b, c, h, w), (b, h * w, c), (0, 2, 3, 1), (0, 2, 1)),
        ((b, h * w, c), (b, c, h, w), (0, 2, 1), (0, 2, 3, 1)),
        ((b, h * d, t), (b, h, t, d), None, (0, 1, 3, 2)),
    ],
)
def test_a_view_across_dimensions_tells_how_they_must_be_moved(
    source: tuple[Size, ...], target: tuple[Size, ...], moved: tuple[int, ...] | None, kept: tuple[int, ...] | None
) -> None:
    crossing = crossed(source, target)
    assert crossing is not None
    assert (crossing.moved, crossing.kept) == (moved, kept)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((b, t, c), (b * t, c)),
        ((t, b, c), (b * t, c)),  # a product has no order
        ((b, t, h * d), (b, t, h, d)),
        ((b, t, t), (b, t, t)),
        ((b, c, t, t + constant(1)), (b, c, t + constant(1), t)),
        ((b, c, t), (b, t, d)),
        ((b, c, constant(1), t), (b, constant(1), c, t)),
    ],
)
def test_a_view_that_keeps_the_order_or_may_do_so_tells_nothing(
    source: tuple[Size, ...], target: tuple[Size, ...]
) -> None:
    assert crossed(source, target) is None
