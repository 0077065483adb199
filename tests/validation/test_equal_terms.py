"""Rounding of equal terms adds up, runs in float32 may overflow, and a half type may be lucky once."""

from __future__ import annotations

import functools
import operator

import pytest

from .conftest import Check

torch = pytest.importorskip("torch")

from mha_lint.validation.relations import rounding, roundings  # noqa: E402
from mha_lint.validation.trials import rows  # noqa: E402
from mha_lint.validation.trials.trial import Seen  # noqa: E402


def off(result: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error relative to the result, in units of float32's last place at 1."""
    return float(((result.double() - exact).abs() / exact.abs()).max()) / torch.finfo(torch.float32).eps


def apart(terms: torch.Tensor, *, are_alike: bool) -> float:
    """How far sums of terms (n, width) that are rounded otherwise are off at most."""
    found = 0.0
    for seed in range(3):
        with roundings.drawn(seed, alike=are_alike):
            found = max(found, off(terms.sum(0), terms.double().sum(0)))
    return found


@pytest.mark.parametrize("count", [50, 105, 200])
def test_the_errors_of_a_sum_of_equal_terms_add_up(count: int) -> None:
    torch.manual_seed(count)
    terms = torch.randn(1, 64).expand(count, 64).contiguous()
    one_by_one = off(functools.reduce(operator.add, terms), terms.double().sum(0))
    assert one_by_one > 2 * apart(terms, are_alike=False) + 1
    assert one_by_one <= 2 * apart(terms, are_alike=True) <= 8 * one_by_one


def test_terms_that_differ_are_off_by_no_more_than_without() -> None:
    torch.manual_seed(0)
    terms = torch.rand(105, 64)
    assert apart(terms, are_alike=True) < 2 * apart(terms, are_alike=False) + 1


MODULE = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        q, k = (nn.functional.normalize(part, dim=-1) for part in (q, k))
        y = (q @ k.mT * self.heads**-0.5).softmax(-1) @ v
        y = self.out(y.transpose(1, 2).flatten(2))
        y = y**9
        return y * y - y * y / 2  # infinity less infinity is no number
"""
PRODUCT = "y = (q @ k.mT * self.heads**-0.5).softmax(-1) @ v"
FUSED = "y = nn.functional.scaled_dot_product_attention(q, k, v, scale=self.heads**-0.5)"
WRONG = {
    "values that are a bit larger": FUSED.replace(" v,", " v * (1 + 1e-5),"),
    "keys in float32": FUSED.replace(" k,", " k.float().to(k.dtype),"),
    "keys in float32 where they are large": FUSED.replace(
        " k,", " (k.float().to(k.dtype) if float(k.abs().max()) > 40 else k),"
    ),
}


def test_where_float32_overflows_other_roundings_tell_how_far_float64_may_be_off(check: Check) -> None:
    verdict = check(MODULE, PRODUCT, FUSED, "Attention.forward")
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize("name", WRONG)
def test_where_float32_overflows_a_wrong_rewrite_is_refuted(check: Check, name: str) -> None:
    verdict = check(MODULE, PRODUCT, WRONG[name], "Attention.forward")
    assert verdict.verdict == "refuted", verdict.reason


def test_a_half_type_in_which_most_roundings_leave_no_digits_has_none_by_luck() -> None:
    def seen(value: float, dtype: torch.dtype = torch.bfloat16) -> Seen:
        return Seen(outputs=[("output", torch.tensor([value, 1.0], dtype=dtype))])

    exact = seen(1.0, torch.float64)
    assert rounding.has_no_digits(seen(1.25), exact, iter(()))
    assert not rounding.has_no_digits(seen(1.0), exact, iter([seen(1.0), seen(1.0), seen(1.25)]))
    assert rounding.has_no_digits(seen(1.0), exact, iter([seen(1.25), seen(0.75), seen(1.0)]))


@pytest.mark.parametrize(("apart", "times"), [(1e-5, 4), (0.5, 64)])
def test_a_result_may_be_farther_than_other_roundings_where_it_has_no_digits(apart: float, times: int) -> None:
    before = torch.tensor([1.0, 0.0, float("inf")])
    runs = [torch.tensor([1.0, apart, 0.0]), torch.tensor([float("nan"), 0.0, 0.0]), torch.zeros(2), None]
    assert rows.allowed_by_chance(before, runs) == pytest.approx(times * apart)
