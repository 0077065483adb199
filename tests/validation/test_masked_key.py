"""The probe that a masked key gets no weight: what it sees, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mha_lint.validation.probes import observe  # noqa: E402

HIDDEN = torch.ones(5, 5, dtype=torch.bool).triu(1)


class Attention(torch.nn.Module):
    """Self-attention whose masked scores are filled with ``value``, in one of the ways that this is written."""

    def __init__(self, value: float, how: str = "masked_fill", mask: Any = HIDDEN) -> None:
        super().__init__()
        self.qkv = torch.nn.Linear(8, 24)
        self.value, self.how, self.mask = value, how, mask

    def forward(self, x: Any, mask: Any = None) -> Any:
        mask = self.mask if mask is None else mask
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.mT
        if self.how == "in place":
            scores.masked_fill_(mask, self.value)
        elif self.how == "assigned":
            scores[mask.expand(scores.shape)] = self.value
        elif self.how == "masked_fill":
            scores = scores.masked_fill(mask, self.value).float() / 1.0
        return torch.softmax(scores, dim=-1) @ v


def seen(module: torch.nn.Module, **inputs: Any) -> Any:
    return observe("masked key", module, {"x": torch.randn(2, 5, 8), **inputs}, insist=True)


@pytest.mark.parametrize("how", ["masked_fill", "in place", "assigned"])
@pytest.mark.parametrize(("value", "outcome"), [(-1e-9, "violated"), (0.0, "violated"), (-1e9, "holds")])
def test_a_masked_key_with_weight_is_a_counterexample(how: str, value: float, outcome: str) -> None:
    observation = seen(Attention(value, how))
    assert observation.outcome == outcome
    if outcome == "violated":
        assert "which is masked" in observation.words
        assert observation.size is not None and 0 < observation.size <= 1


def test_rows_that_are_masked_as_a_whole_are_passed_over() -> None:
    everything = torch.ones(5, 5, dtype=torch.bool)
    assert seen(Attention(-1e9, mask=everything)).outcome == "not applicable"


def test_nothing_is_said_where_nothing_is_filled() -> None:
    assert seen(Attention(-1e9, how="not at all")).outcome == "not applicable"


def test_inputs_and_weights_stay_as_they_were() -> None:
    module, x = Attention(-1e-9, "in place"), torch.randn(2, 5, 8)
    weights, before = module.qkv.weight.clone(), x.clone()
    observe("masked key", module, {"x": x})
    assert torch.equal(module.qkv.weight, weights) and torch.equal(x, before) and module.training
