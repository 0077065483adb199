"""The probe "unit score variance" tells two scales of one over the root of the width from one of one over the width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mha_lint.observation import Observation  # noqa: E402
from mha_lint.validation.probes import observe  # noqa: E402

from .probed_modules import HEADS, WIDTH  # noqa: E402

D = WIDTH // HEADS
ROOT = D**-0.5
Attend = Callable[[Any, Any, Any, Any], Any]


class Scaled(nn.Module):
    """Attention by heads, whose scores are made by ``attend(q, k, v, module)``."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend, self.qkv = attend, nn.Linear(WIDTH, 3 * WIDTH)
        self.register_buffer("scale", torch.tensor(ROOT))
        self.learned = nn.Parameter(torch.tensor(ROOT))

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, D)).permute(2, 0, 3, 1, 4)
        return self.attend(q, k, v, self).transpose(1, 2).flatten(2)


def seen(attend: Attend) -> Observation:
    torch.manual_seed(0)
    return observe("unit score variance", Scaled(attend), {"x": torch.randn(3, 7, WIDTH)})


def by_hand(scores: Any, v: Any) -> Any:
    return scores.softmax(-1) @ v


TWICE: dict[str, Attend] = {
    "queries, and torch's own on top": lambda q, k, v, m: F.scaled_dot_product_attention(q * ROOT, k, v),
    "keys divided, and torch's own on top": lambda q, k, v, m: F.scaled_dot_product_attention(q, k / D**0.5, v),
    "a buffer, and torch's own on top": lambda q, k, v, m: F.scaled_dot_product_attention(q.mul(m.scale), k, v),
    "in place, and torch's own on top": lambda q, k, v, m: F.scaled_dot_product_attention(q.mul_(ROOT), k, v),
    "queries, and a given scale": lambda q, k, v, m: F.scaled_dot_product_attention(q * ROOT, k, v, scale=ROOT),
    "queries and scores": lambda q, k, v, m: by_hand((q * ROOT) @ k.mT / D**0.5, v),
    "the root on both sides": lambda q, k, v, m: by_hand((q * ROOT) @ (k * ROOT).mT, v),
    "scores twice": lambda q, k, v, m: by_hand(q @ k.mT * m.scale / D**0.5, v),
    "alpha and scores": lambda q, k, v, m: by_hand(
        torch.baddbmm(torch.zeros(1), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0, alpha=ROOT).view(3, HEADS, 7, 7)
        * ROOT,
        v,
    ),
    "queries through views": lambda q, k, v, m: by_hand(
        torch.einsum("bhtd,bhsd->bhts", (q * ROOT).transpose(1, 2).transpose(1, 2), k) * ROOT, v
    ),
}
ONCE_BY_THE_WIDTH: dict[str, Attend] = {
    "scores": lambda q, k, v, m: by_hand(q @ k.mT / D, v),
    "queries": lambda q, k, v, m: by_hand((q / D) @ k.mT, v),
    "torch's own": lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, scale=1 / D),
    "queries, and torch's own switched off": lambda q, k, v, m: F.scaled_dot_product_attention(q / D, k, v, scale=1.0),
    "a multiplier of one": lambda q, k, v, m: by_hand((q * 1.0) @ k.mT / D, v),
}
RIGHT: dict[str, Attend] = {
    "split roots": lambda q, k, v, m: by_hand((q * D**-0.25) @ (k * D**-0.25).mT, v),
    "torch's own": lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v),
    "queries, and torch's own switched off": lambda q, k, v, m: F.scaled_dot_product_attention(q * ROOT, k, v, scale=1),
    "up, and down twice": lambda q, k, v, m: by_hand((q * ROOT) @ (k * ROOT).mT * D**0.5, v),
}


@pytest.mark.parametrize("how", TWICE)
def test_two_scales_by_the_root_are_a_counterexample(how: str) -> None:
    observation = seen(TWICE[how])
    assert observation.outcome == "violated", observation
    assert "as two scales of 0.354 give them" in observation.words


@pytest.mark.parametrize("how", ONCE_BY_THE_WIDTH)
def test_one_scale_by_the_width_may_be_meant(how: str) -> None:
    observation = seen(ONCE_BY_THE_WIDTH[how])
    assert observation.outcome == "not applicable" and "µP" in observation.words


@pytest.mark.parametrize("how", RIGHT)
def test_scales_that_make_one_root_hold(how: str) -> None:
    assert seen(RIGHT[how]).outcome == "holds"


def test_torchs_own_modules_scale_once() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 7, WIDTH)
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    for flags in ({}, {"need_weights": False}):
        inputs = {"query": x, "key": x, "value": x, **flags}
        assert observe("unit score variance", module, inputs).outcome == "holds"
