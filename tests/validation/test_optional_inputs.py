"""Sizes that are apart, optional inputs and flags: some trials have them, others do not."""

from __future__ import annotations

import itertools

import pytest

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")
paired = pytest.importorskip("mha_lint.validation.search.optional").paired

# The width of all heads together is not that of the model.
APART = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64):
        super().__init__()
        self.heads, self.scale = heads, dim_head ** -0.5
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim) if heads * dim_head != dim else nn.Identity()

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.to_qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = (q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v
        out = out.transpose(1, 2).reshape(b, n, -1)
        return self.to_out(out)
"""

# A mask, a memory and two flags, all of which may be left out.
OPTIONAL = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x, memory=None, mask=None, is_causal=False, return_weights=False):
        b, t, c = x.shape
        source = x if memory is None else memory
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k, v = self.kv(source).view(b, source.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        if is_causal:
            scores = scores + torch.full_like(scores, -1e9).triu(1)
        weights = scores.softmax(-1)
        out = self.out((weights @ v).transpose(1, 2).reshape(b, t, c))
        return (out, weights) if return_weights else out
"""


@pytest.mark.parametrize(
    "wrong", ["out.transpose(1, 2).reshape(x.shape)", "out.transpose(1, 2).reshape(b, n, x.shape[-1])"]
)
def test_a_width_that_is_not_that_of_all_heads_is_among_the_sizes(check: Check, wrong: str) -> None:
    old = "out.transpose(1, 2).reshape(b, n, -1)"
    verdict = check(APART, old, wrong, "Attention.forward")
    assert verdict.verdict == "refuted", verdict


def test_the_same_rewrite_with_the_right_width_is_validated(check: Check) -> None:
    verdict = check(
        APART, "out.transpose(1, 2).reshape(b, n, -1)", "out.transpose(1, 2).flatten(2)", "Attention.forward"
    )
    assert verdict.verdict == "validated", verdict.reason
    assert any("(3, 5, 40)" in trial.shapes[0] for trial in verdict.trials)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/ q.shape[-1] ** 0.5", "/ (q.shape[-1] ** 0.5 * (1 + (mask is not None)))"),
        ("weights = scores.softmax(-1)", "weights = scores.softmax(-1) * (1 + (memory is not None))"),
        ("(weights @ v)", "(weights * (1 + is_causal) @ v)"),
        ("weights = scores.softmax(-1)", "weights = scores.softmax(-1) * (1 + return_weights)"),
    ],
    ids=["mask", "memory", "causal", "weights"],
)
def test_code_that_depends_on_an_optional_input_is_run_with_it(check: Check, old: str, new: str) -> None:
    verdict = check(OPTIONAL, old, new, "Attention.forward")
    assert verdict.verdict == "refuted", verdict


def test_a_right_rewrite_is_validated_with_its_optional_inputs_and_without(check: Check) -> None:
    verdict = check(
        OPTIONAL,
        "(weights @ v).transpose(1, 2).reshape(b, t, c)",
        "(weights @ v).transpose(1, 2).flatten(2)",
        "Attention.forward",
    )
    assert verdict.verdict == "validated", verdict.reason
    shapes = [" ".join(trial.shapes) for trial in verdict.trials if trial.outcome == "agree"]
    assert any("mask" in each and "memory" in each for each in shapes)
    assert any("mask" in each and "memory" not in each for each in shapes)
    assert any("memory" in each and "mask" not in each for each in shapes)
    assert len(verdict.trials) < 60


@pytest.mark.parametrize("count", range(11))
def test_each_pair_of_optional_inputs_is_given_in_each_way(count: int) -> None:
    rows = [set(row) for row in paired(count)]
    assert len(rows) <= 5
    for one, other in itertools.permutations(range(count), 2):
        assert any(one in row and other in row for row in rows)
        assert any(one in row and other not in row for row in rows)


FLAGGED = VIT.replace("def forward(self, x)", "def forward(self, x, doubled=False)").replace(
    "        return self.proj_drop(self.proj(x))\n",
    "        x = self.proj_drop(self.proj(x))\n        if doubled:\n            x = (x, x * 2)\n        return x\n",
)


def test_a_flag_is_found_by_its_default_whatever_it_is_called(check: Check) -> None:
    wrong = check(FLAGGED, "x = (x, x * 2)", "x = [x, x * 2]", "Attention.forward", alone=True)
    assert (wrong.verdict, wrong.harness) == ("refuted", "module"), wrong
    right = check(FLAGGED, "x = (x, x * 2)", "x = x, 2 * x", "Attention.forward", alone=True)
    assert (right.verdict, right.harness) == ("validated", "module"), right


KERNELS = """
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        if self.config._attn_implementation == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        else:
            weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
            y = F.dropout(weights, rate, self.training) @ v
        return y.transpose(1, 2).reshape(b, t, c)
"""


def test_a_configuration_asks_for_other_kernels_too(check: Check) -> None:
    verdict = check(KERNELS, "rate = self.rate if self.training else 0.0", "rate = self.rate", "Attention.forward")
    assert verdict.verdict == "refuted", verdict
    assert "eval mode" in verdict.reason
