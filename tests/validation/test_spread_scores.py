"""Fused attention takes no mask that is larger than the scores; code by hand spreads the scores of one key over it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from mha_lint.validation.trials import spread

from .conftest import Check

SYMBOL = "Attention.forward"
MODULE = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.table = nn.Parameter(torch.randn(num_heads, 1, 64))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[..., :KEYS]
        scores = (q @ k.transpose(-2, -1)) * self.scale + bias
        weights = scores.softmax(dim=-1)
        y = torch.einsum("bhij,bhjd->bhid", weights, v)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
"""
FIRST, LAST = "        scores = (q", "weights, v)\n"
STATEMENTS = MODULE[MODULE.index(FIRST) : MODULE.index(LAST) + len(LAST)]
FUSED = "        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)\n"


def test_what_one_key_gives_when_it_is_spread_is_not_asked_of_fused_attention(check: Check) -> None:
    source = MODULE.replace("KEYS", "t if t > 3 else 4 if t == 1 else t")
    verdict = check(source, STATEMENTS, FUSED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert spread.TOLD in verdict.caveat


def test_where_the_mask_before_fits_a_larger_one_is_refuted(check: Check) -> None:
    source = MODULE.replace("KEYS", "t")
    wrong = FUSED.replace("attn_mask=bias", "attn_mask=self.table[..., :max(t, 2)]")
    verdict = check(source, STATEMENTS, wrong, SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason
    assert "only after raises" in verdict.reason
