"""What the first way to run it does not show: other counts, a batch that two inputs share, the class that uses it."""

from __future__ import annotations

import pytest

from .conftest import Check

pytest.importorskip("torch")

from mha_lint.validation.search.learning import lengthened, resized
from mha_lint.validation.search.specs import TensorSpec

# Over the last dimension for (b, t, d), as the class may be called alone; over the queries for the heads that it gets.
USED = """
import torch
from torch import nn


class Weighing(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.root = width**0.5
        self.normalise = nn.Softmax(dim=2)

    def forward(self, queries, keys, values):
        scores = queries @ keys.transpose(-2, -1) / self.root
        return self.normalise(scores) @ values


class Heads(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.weighing = Weighing(width // heads)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (m(x).view(b, t, self.heads, -1).transpose(1, 2) for m in self.maps)
        return self.out(self.weighing(q, k, v).transpose(1, 2).flatten(2))
"""
ALONE = USED.partition("class Heads")[0]

# With one group there is nothing that the view could not express.
GROUPED = """
from torch import nn


class Pooled(nn.Module):
    def __init__(self, channels, kept, k=1):
        super().__init__()
        self.kept, self.k = kept, k
        self.gather = nn.Conv2d(channels, kept, 1)

    def forward(self, x):
        images, _, height, width = x.shape
        batch = images // self.k
        y = self.gather(x).view(batch, self.k, self.kept, height * width).transpose(1, 2)
        return y.view(batch, self.kept, -1)
"""


def test_a_class_that_is_right_alone_is_shown_wrong_by_what_uses_it(check: Check) -> None:
    verdict = check(
        USED, "dim=2", "dim=-1", "Weighing.__init__", "corrected", probes=("constant value",), flagged="dim=2"
    )
    assert verdict.verdict == "validated", verdict.reason
    assert "(x: (3, 5, 32)" in verdict.counterexample


def test_a_class_that_nothing_uses_otherwise_is_not_shown_wrong(check: Check) -> None:
    verdict = check(
        ALONE, "dim=2", "dim=-1", "Weighing.__init__", "corrected", probes=("constant value",), flagged="dim=2"
    )
    assert verdict.verdict != "validated"
    assert not verdict.counterexample


def test_a_count_that_is_one_by_default_is_tried_with_two(check: Check) -> None:
    old = "return y.view("
    verdict = check(GROUPED, old, "return y.contiguous().view(", "Pooled.forward", "repaired")
    assert verdict.verdict == "validated", verdict.reason
    assert "k=2" in verdict.reason
    assert any("before raised at the flagged line" in trial.detail for trial in verdict.trials)


def test_a_size_that_another_input_has_too_goes_on_varying_with_it() -> None:
    error = RuntimeError("The size of tensor a (3) must match the size of tensor b (5) at non-singleton dimension 2")
    found = list(lengthened(TensorSpec(("t", "t"), "bool"), error, {"b": 3, "t": 5, "s": 9}))
    assert TensorSpec(("b", "t"), "bool") in found
    assert not any(3 in spec.dims for spec in found if isinstance(spec, TensorSpec))
    assert TensorSpec((7, "t"), "bool") in found, "a length that has no name is a length of its own"


def test_three_channels_are_no_batch_of_three() -> None:
    error = RuntimeError("expected input[3, 32, 8, 8] to have 3 channels, but got 32 channels instead")
    found = list(resized(TensorSpec(("b", 32, "H", "W")), error, {"b": 3, "H": 8, "W": 8}))
    assert TensorSpec(("b", 3, "H", "W")) in found
    assert not any(isinstance(spec, TensorSpec) and spec.dims[1] == "b" for spec in found)


CASCADED = """
import torch
from torch import nn


class Cascaded(nn.Module):
    def __init__(self, dim, key_dim, num_heads=8, ratio=4, powers=(3, 3, 5, 5)):
        super().__init__()
        self.sizes = key_dim, key_dim, ratio * key_dim
        self.enter = nn.Linear(dim, dim)
        self.maps = nn.ModuleList()
        self.powers = []
        for i in range(num_heads):
            self.maps.append(nn.Linear(dim // num_heads, sum(self.sizes)))
            self.powers.append(1 / powers[i])

    def forward(self, x):
        out = []
        y = 0
        for part, mapped, power in zip(self.enter(x).chunk(len(self.maps), dim=-1), self.maps, self.powers):
            q, k, v = mapped(part + y).split(self.sizes, dim=-1)
            weights = (q @ k.transpose(-2, -1) * power).softmax(dim=-1)
            y = weights @ v
            out.append(y)
        return torch.cat(out, dim=-1)
"""


def test_a_setting_for_each_head_and_a_width_that_a_ratio_makes_are_found(check: Check) -> None:
    """By default, there are four powers for eight heads, and values are four times as wide as keys."""
    verdict = check(CASCADED, "k.transpose(-2, -1)", "k.mT", "Cascaded.forward")
    assert verdict.verdict == "validated", verdict.reason
