"""Equal values: from equal tokens, attention weighs equal values, whatever its weights are."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mha_lint.validation.probes import PROBES, observe  # noqa: E402


class Reduced(nn.Module):
    """Queries see keys of a smaller image, which a view may scramble."""

    def __init__(self, scrambled: bool, padding: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scrambled = scrambled
        self.reduce = nn.Conv2d(12, 12, 2, stride=2, padding=padding)
        self.bias = nn.Parameter(torch.randn(24, 1))

    def forward(self, x: torch.Tensor, *, by_hand: bool = False) -> torch.Tensor:
        image = x.reshape(-1, 12, 4, 6) if self.scrambled else x.transpose(1, 2).reshape(-1, 12, 4, 6)
        rows = self.reduce(image).flatten(2).transpose(1, 2)
        if not by_hand:
            return F.scaled_dot_product_attention(x, rows, rows)
        columns = rows @ x.transpose(1, 2)
        return (rows.transpose(1, 2) @ columns.softmax(dim=1)).transpose(1, 2)


class Image(nn.Module):
    """One query for an image."""

    def __init__(self, scrambled: bool) -> None:
        super().__init__()
        self.scrambled = scrambled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, _, _ = x.shape
        rows = x.reshape(b, -1, c) if self.scrambled else x.flatten(2).transpose(1, 2)
        query = x.mean((2, 3)).unsqueeze(1)
        return ((query @ rows.transpose(1, 2)).softmax(dim=-1) @ rows).squeeze(1)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("scrambled", [False, True])
def test_scrambled_keys_are_seen_where_equal_tokens_give_equal_ones(scrambled: bool, by_hand: bool) -> None:
    module, inputs = Reduced(scrambled), {"x": torch.randn(2, 24, 12), "by_hand": by_hand}
    seen = observe("equal values", module, inputs, insist=True)
    assert seen.outcome == ("violated" if scrambled else "holds"), seen.words
    assert observe("equal tokens", module, inputs, insist=True).outcome == "holds"


@pytest.mark.parametrize("scrambled", [False, True])
def test_an_image_with_one_query_is_judged_too(scrambled: bool) -> None:
    seen = observe("equal values", Image(scrambled), {"x": torch.randn(3, 10, 4, 6)}, insist=True)
    assert seen.outcome == ("violated" if scrambled else "holds"), seen.words


def test_a_padded_convolution_makes_values_differ_in_right_code_too() -> None:
    inputs = {"x": torch.randn(2, 24, 12)}
    assert observe("equal values", Reduced(False, padding=1), inputs, insist=True).outcome == "violated"
    assert observe("equal values", Reduced(False, padding=1), inputs).outcome == "not applicable"
    assert "equal values" not in PROBES  # nobody is asked for it: only who corrects a layout


def test_without_attention_there_are_no_values() -> None:
    seen = observe("equal values", nn.Linear(12, 12), {"0": torch.randn(2, 24, 12)}, insist=True)
    assert seen.outcome == "not applicable" and "no values" in seen.words
