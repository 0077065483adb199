"""Modules that amplify rounding: right rewrites of the attention in them are validated, and wrong ones are refuted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import Check

torch = pytest.importorskip("torch")

SYMBOL = "Attention.forward"
BY_HAND = """\
        attn = (q @ k.transpose(-2, -1)) * self.scale + self.bias(t)
        attn = self.drop(attn.softmax(dim=-1))
        y = attn @ v
"""
FUSED = "y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(t), scale=self.scale)"
NORMED = f"""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.before = nn.BatchNorm1d(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.between = nn.BatchNorm1d(3 * dim)
        self.biases = nn.Parameter(torch.zeros(num_heads, 64))
        self.drop = nn.Identity()
        self.proj = nn.Linear(dim, dim, bias=False)
        self.after = nn.BatchNorm1d(dim)
        self.register_buffer("seen", torch.ones(3) / 3)

    def bias(self, t):
        places = torch.arange(t, device=self.biases.device)
        return self.biases[:, (places[:, None] - places).abs() % 64]

    def forward(self, x):
        b, t, c = x.shape
        x = self.before(x.flatten(0, 1)).unflatten(0, (b, t))
        qkv = self.between(self.qkv(x).flatten(0, 1))
        q, k, v = qkv.view(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
{BY_HAND}
        y = y.transpose(1, 2).reshape(b * t, c)
        return self.after(self.proj(y)).view(b, t, c)
"""
STATEMENTS = BY_HAND.strip()
WRONG = {
    "a scale that is off by a hundredth": FUSED.replace("(q,", "(q * 1.01,"),
    "a scale that is off by a thousandth": FUSED.replace("(q,", "(q * 1.001,"),
    "keys in bfloat16": FUSED.replace(" k,", " k.bfloat16().to(k.dtype),"),
    "keys in bfloat16 where the rest is in float32": FUSED.replace(
        " k,", " (k.bfloat16().float() if k.dtype == torch.float32 else k),"
    ),
    "values that are a bit larger": FUSED.replace(" v,", " v * (1 + 1e-5),"),
    "heads in another order": FUSED.replace("(q,", "(q.flip(1),"),
    "no bias": FUSED.replace("attn_mask=self.bias(t), ", ""),
    "a causal mask": FUSED.replace("self.bias(t)", "self.bias(t).tril()"),
    "dropout": FUSED.replace("scale=", "dropout_p=0.1, scale="),
    "a buffer that nothing computed": f"{FUSED}; self.seen.mul_(1 + 1e-7)",
}


def test_rounding_that_batch_norms_amplify_is_told_from_another_meaning(check: Check) -> None:
    verdict = check(NORMED, STATEMENTS, FUSED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert {trial.mode for trial in verdict.trials if "within rounding" in trial.detail} == {"train", "eval"}


@pytest.mark.parametrize("name", WRONG)
def test_where_rounding_is_amplified_a_wrong_rewrite_is_refuted(check: Check, name: str) -> None:
    verdict = check(NORMED, STATEMENTS, WRONG[name], SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason


IN_PLACE = NORMED.replace("self.drop = nn.Identity()", "self.drop = nn.Dropout(p, inplace=True)")
IN_PLACE = IN_PLACE.replace("num_heads=4):", "num_heads=4, p=0.1):")
GATED = FUSED.replace("scale=", "dropout_p=self.drop.p if self.training else 0.0, scale=")


def test_code_that_cannot_be_trained_with_dropout_is_compared_forward(check: Check) -> None:
    """Dropout in place writes into the weights that the gradient of the softmax is computed from."""
    verdict = check(IN_PLACE, STATEMENTS, GATED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    forward = [trial for trial in verdict.trials if "before can't go backward" in trial.detail]
    assert {trial.mode for trial in forward} == {"train"}
    assert any(trial.mode == "train" and trial not in forward for trial in verdict.trials if trial.outcome == "agree")


@pytest.mark.parametrize("new", [FUSED, GATED.replace("drop.p", "drop.p / 2"), GATED.replace(" if self.training", "")])
def test_its_dropout_is_compared_all_the_same(check: Check, new: str) -> None:
    new = new.replace(" else 0.0", "") if "if" not in new else new
    verdict = check(IN_PLACE, STATEMENTS, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason


FLOATS = NORMED.replace(
    "self.biases = nn.Parameter(torch.zeros(num_heads, 64))", "self.biases = nn.Linear(1, num_heads)"
)
FLOATS = FLOATS.replace("self.biases.device", "self.biases.weight.device")
FLOATS = FLOATS.replace(
    "self.biases[:, (places[:, None] - places).abs() % 64]",
    "self.biases((places[:, None] - places).float()[..., None]).permute(2, 0, 1)",
)


def test_integers_that_are_cast_to_float32_do_not_prevent_trials_in_float64(check: Check) -> None:
    verdict = check(FLOATS, STATEMENTS, FUSED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    wide = [trial for trial in verdict.trials if trial.dtype == "float64" and trial.outcome == "agree"]
    assert wide
    assert all("with no cast to float32 on the way" in trial.detail for trial in wide)


@pytest.mark.parametrize("name", ["a scale that is off by a thousandth", "no bias", "values that are a bit larger"])
def test_there_a_wrong_rewrite_is_refuted(check: Check, name: str) -> None:
    verdict = check(FLOATS, STATEMENTS, WRONG[name], SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason


STEEP = NORMED.replace("** -0.5", "** 1.5")


def test_a_half_type_in_which_the_original_has_no_digits_is_left_out(check: Check) -> None:
    verdict = check(STEEP, STATEMENTS, FUSED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    left_out = [trial for trial in verdict.trials if "before has no digits in this dtype" in trial.detail]
    assert left_out
    assert {(trial.dtype, trial.outcome) for trial in left_out} == {("bfloat16", "skipped")}


CHAOTIC = NORMED.replace(
    "        return self.after(",
    "        for _ in range(4 if self.training and b < 3 else 0):\n            y = torch.sin(30 * y)\n"
    "        return self.after(",
)


def test_sizes_at_which_the_original_has_no_digits_in_float32_are_left_out_there(check: Check) -> None:
    verdict = check(CHAOTIC, STATEMENTS, FUSED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    left_out = [trial for trial in verdict.trials if "it is off by a hundredth" in trial.detail]
    assert {(trial.dtype, trial.mode, trial.outcome) for trial in left_out} == {("float32", "train", "skipped")}
    in_training = {trial.dtype for trial in verdict.trials if trial.mode == "train" and trial.outcome == "agree"}
    assert "float64" in in_training, "how far other roundings are apart there is a measure"


@pytest.mark.parametrize(
    "new",
    [
        FUSED.replace(" v,", " v * (1 + 1e-5 * (self.training and b < 3)),"),
        FUSED.replace("self.scale", "self.scale * (1 + 1e-7 * (self.training and b < 3))"),
        FUSED.replace(" k,", " (k.float().to(k.dtype) if self.training and b < 3 else k),"),
    ],
)
def test_what_is_wrong_there_alone_is_refuted_by_float64(check: Check, new: str) -> None:
    verdict = check(CHAOTIC, STATEMENTS, new, SYMBOL)
    assert verdict.verdict == "refuted", verdict.reason


def test_before_runs_once_more_only_where_the_plain_bound_fails() -> None:
    from mha_lint.validation.relations import rounding
    from mha_lint.validation.trials.trial import Seen

    def seen(value: float, dtype: torch.dtype = torch.float32) -> Seen:
        return Seen(outputs=[("output", torch.tensor([value, 1.0], dtype=dtype))])

    asked: list[int] = []

    def runs() -> Iterator[Seen]:
        for place in range(3):
            asked.append(place)
            yield seen(1 + 2e-6)

    exact = seen(1.0, torch.float64)
    assert rounding.account(seen(1 + 1e-7), seen(1 + 2e-7), exact, runs(), by_kernel=True)
    assert not asked
    assert rounding.account(seen(1 + 1e-7), seen(1 + 2e-6), exact, runs(), by_kernel=True)
    assert asked == [0]
    assert not rounding.account(seen(1 + 1e-7), seen(1 + 1e-5), exact, runs(), by_kernel=True)


def test_sums_alone_are_handed_other_last_places() -> None:
    from mha_lint.validation.relations import roundings

    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with roundings.drawn(0):
        first = x @ x, x * 3, x.softmax(-1), x.sort().values
    with roundings.drawn(1):
        second = x @ x, x * 3, x.softmax(-1), x.sort().values
    assert [torch.equal(left, right) for left, right in zip(first, second, strict=True)] == [False, True, False, True]
    assert torch.allclose(first[0], second[0], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_softmax_over_one_key_is_some_roundings_of_its_terms() -> None:
    from mha_lint.validation.relations import roundings

    x = torch.randn(4, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with roundings.drawn(0):
        x.softmax(-1).backward(torch.randn(4, 1, generator=torch.Generator().manual_seed(1)))
    assert x.grad is not None
    assert 0 < float(x.grad.abs().max()) < 1e-5
