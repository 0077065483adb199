"""Layouts that random chains find only once in ten thousand tries."""

from __future__ import annotations

import pytest

from mha_lint.model.attention import analyse
from mha_lint.model.values import Tensor
from mha_lint.syntax.module import Module

SOURCE = "import torch\nfrom torch import nn\n\n\nclass Chain(nn.Module):\n    def forward(self):\n        {}\n"


def last(*lines: str) -> Tensor:
    source = SOURCE.format("\n        ".join([*lines, "return x"]))
    ((_, value),) = analyse(Module(source), every=True).classes[0].returns
    assert isinstance(value, Tensor)
    return value


@pytest.mark.parametrize(
    "lines",
    [
        ("x = torch.zeros(1, 1, 2, 1).permute(1, 3, 0, 2)", "x = torch.cat([x, x], dim=1)"),
        ("x = torch.zeros(2, 2, 2, 2).permute(0, 3, 1, 2)", "x = torch.stack([x, x], dim=0)"),
        ("x = torch.zeros(3, 4, 1).permute(1, 0, 2)", "x = torch.einsum('bij,bkj->bik', x, x)"),
    ],
    ids=["cat of what is also channels-last", "stack of channels-last", "einsum over 1"],
)
def test_what_torch_lays_out_its_own_way_is_not_said_to_be_contiguous(lines: tuple[str, ...]) -> None:
    torch = pytest.importorskip("torch")
    names = {"torch": torch}
    exec("\n".join(lines), names)
    assert not names["x"].is_contiguous()
    told = last(*lines)
    assert told.strides is None
    assert not told.contiguous


def test_joining_contiguous_tensors_gives_one() -> None:
    assert last("x = torch.zeros(2, 3, 4, 5)", "x = torch.stack([x, x], dim=1)").contiguous
    assert last("x = torch.zeros(2, 3, 4, 5)", "x = torch.cat([x, x], dim=1)").contiguous
