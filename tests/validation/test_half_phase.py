"""*Repaired* of angles that are computed in half precision: shown wrong at distant positions, and right afterwards."""

from __future__ import annotations

import pytest

from mha_lint.findings import Verdict

from .conftest import Check

pytest.importorskip("torch")

ATTENTION = """
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)

    def turned(self, x):
        t, d = ROWS, x.shape[-1]
        frequencies = 10000.0 ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        angles = torch.outer(torch.arange(t, device=x.device), frequencies.CAST)
        cos, sin = angles.cos(), angles.sin()
        x1, x2 = x[..., :t, :].chunk(2, dim=-1)
        return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).transpose(1, 3).unbind(2)
        q, k = self.turned(q), self.turned(k)
        y = F.scaled_dot_product_attention(q, k, v[..., : k.shape[-2], :])
        return y.transpose(1, 2).reshape(b, -1, c)
"""
LIKE_X = ATTENTION.replace("ROWS", "x.shape[-2]").replace("CAST", "to(x.dtype)")
TO_HALF = ATTENTION.replace("ROWS", "x.shape[-2]").replace("CAST", "half()")
TAKEN = "cos, sin = angles.cos(), angles.sin()"

KEPT = "frequencies.to(torch.promote_types(x.dtype, torch.float32))"

TABLE = """
import math

import torch
from torch import nn


class Positions(nn.Module):
    def __init__(self, width, max_len=512):
        super().__init__()
        table = torch.zeros(max_len, width)
        steps = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))
        angles = torch.arange(max_len)[:, None] * steps.half()
        table[:, 0::2] = torch.sin(angles)
        table[:, 1::2] = torch.cos(angles)
        self.register_buffer("table", table)

    def forward(self, x):
        return x + self.table[: x.shape[1]]
"""

GRID = """
import torch
from torch import nn


class Patches(nn.Module):
    def __init__(self, dim, image_size, patch_size=2):
        super().__init__()
        side = image_size // patch_size
        steps = 10000.0 ** (-torch.arange(0, dim, 4).float() / dim)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        rows = rows.reshape(-1, 1) * steps.half()
        columns = columns.reshape(-1, 1) * steps.half()
        self.places = torch.cat((rows.sin(), rows.cos(), columns.sin(), columns.cos()), dim=-1).float()
        self.patches = nn.Conv2d(3, dim, patch_size, patch_size)
        self.scores = nn.Linear(dim, 1)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2) + self.places.to(image)
        return (self.scores(x).softmax(dim=1) * x).sum(1)
"""


def repaired(check: Check, source: str, cast: str, taken: str, kept: str = KEPT) -> Verdict:
    old = f"frequencies.{cast})\n        {TAKEN}"
    new = f"{kept})\n        {taken}"
    flagged = f"frequencies.{cast}"
    return check(source, old, new, "Attention.turned", "repaired", expected="half phase", flagged=flagged)


def test_a_cast_of_cosines_instead_of_frequencies_is_validated_since_before_was_seen_to_be_wrong(check: Check) -> None:
    verdict = repaired(check, LIKE_X, "to(x.dtype)", "cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)")
    assert verdict.verdict == "validated", verdict.reason
    assert "since the angles are off by up to" in verdict.counterexample
    assert "4096" in verdict.counterexample
    assert verdict.bitwise
    assert {trial.dtype for trial in verdict.trials} >= {"float32", "float64", "bfloat16"}


def test_a_cast_to_half_whatever_x_is_means_the_angles_that_float32_has(check: Check) -> None:
    taken = "cos, sin = angles.cos().to(torch.float16), angles.sin().to(torch.float16)"
    verdict = repaired(check, TO_HALF, "half()", taken, "frequencies.float()")
    assert verdict.verdict == "validated", verdict.reason
    assert verdict.counterexample


@pytest.mark.parametrize(
    ("kept", "taken"),
    [
        (
            KEPT.replace("frequencies", "frequencies.to(x.dtype)"),
            "cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)",
        ),
        (KEPT, "cos, sin = angles.cos(), angles.sin()"),
        (f"2 * {KEPT}", "cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)"),
        (KEPT, "cos, sin = angles.cos().to(x.dtype), angles.cos().to(x.dtype)"),
        (KEPT, "cos, sin = angles.to(x.dtype).cos(), angles.to(x.dtype).sin()"),
    ],
    ids=["rounded all the same", "results in another type", "other angles", "another sine", "angles are rounded"],
)
def test_another_rewrite_is_refuted(check: Check, kept: str, taken: str) -> None:
    verdict = repaired(check, LIKE_X, "to(x.dtype)", taken, kept)
    assert verdict.verdict == "refuted", verdict


def test_where_positions_are_few_nothing_is_shown_and_the_verdict_says_so(check: Check) -> None:
    few = ATTENTION.replace("ROWS", "min(x.shape[-2], 2)").replace("CAST", "to(x.dtype)")
    verdict = repaired(check, few, "to(x.dtype)", "cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)")
    assert verdict.verdict == "not exercised"
    assert verdict.unshown
    assert not verdict.counterexample
    assert (
        "half precision was not seen to spoil the angles: the cosines or sines of line 17, (2, 4), are off"
        in verdict.reason
    )


def test_a_table_that_a_constructor_fills_is_built_as_it_means(check: Check) -> None:
    verdict = check(
        TABLE, "steps.half()", "steps", "Positions.__init__", "repaired", expected="half phase", flagged="steps.half()"
    )
    assert verdict.verdict == "validated", verdict.reason
    assert "(4096, " in verdict.counterexample


def test_a_constructor_that_fills_the_table_otherwise_is_refuted(check: Check) -> None:
    verdict = check(
        TABLE, "steps.half()", "2 * steps", "Positions.__init__", "repaired", expected="half phase",
        flagged="steps.half()",
    )  # fmt: skip
    assert verdict.verdict == "refuted", verdict


def mended(check: Check, source: str) -> Verdict:
    old = source[source.index("        rows = rows.") : source.index("        self.patches")]
    new = old.replace(".half()", "").replace("sin()", "sin().half()").replace("cos()", "cos().half()")
    return check(source, old, new, "Patches.__init__", "repaired", expected="half phase", flagged="steps.half()")


def test_a_grid_of_positions_is_built_with_more_rows_and_columns(check: Check) -> None:
    verdict = mended(check, GRID)
    assert verdict.verdict == "validated", verdict.reason
    assert "as it is built" in verdict.counterexample


def test_a_grid_that_stays_small_is_not_shown_wrong(check: Check) -> None:
    few = GRID.replace("image_size // patch_size", "4").replace("(image)", "(image)[: image.shape[2] // 2 * 4]")
    verdict = mended(check, few)
    assert verdict.verdict == "not exercised", verdict
    assert not verdict.counterexample
