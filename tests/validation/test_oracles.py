"""*Corrected*: after has to be what before means, as an oracle reads it, and not only to satisfy a probe."""

from __future__ import annotations

import pytest

from mha_lint.findings import Verdict

from .conftest import Check
from .corrected_modules import DROPPING, INVERTED, MERGED, TINY, UNGATED, WITH_TRANSPOSE, WITHOUT_TRANSPOSE

pytest.importorskip("torch")

# Queries and keys that are scaled by the width of the model.
SCALED = MERGED.replace(WITHOUT_TRANSPOSE, WITH_TRANSPOSE).replace("(dim // num_heads) ** -0.5", "dim ** -0.5")
UNSCALED = SCALED.replace(" * self.scale\n", "\n")
# A softmax over the queries, of a mask that hides nothing.
OVER_QUERIES = MERGED.replace(WITHOUT_TRANSPOSE, WITH_TRANSPOSE).replace(
    "softmax(scores, dim=-1)", "softmax(scores, dim=-2)"
)
SPLIT = MERGED.replace(WITHOUT_TRANSPOSE, WITH_TRANSPOSE).replace(
    "        scores = q", "        v = self.value(x).view(b, self.num_heads, t, -1)\n        scores = q"
)
NUMBERS = INVERTED.replace("dtype=torch.bool, device=x.device).triu(1)", "device=x.device).tril()")
WITH_LAYER = OVER_QUERIES.replace("torch.softmax(scores, dim=-2)", "self.softmax(scores)").replace(
    "        self.proj =", "        self.softmax = nn.Softmax(dim=1)\n        self.proj ="
)
ITSELF_ALONE = "torch.eye(t, dtype=torch.bool, device=x.device)"
PREVIOUS_ALONE = "(torch.eye(t, device=x.device).roll(1, 0).tril() + (torch.arange(t) == 0).diag()).bool()"


def corrected(
    check: Check, source: str, old: str, new: str, *probes: str, agree: str = "", flagged: str = ""
) -> Verdict:
    name = "CausalAttention" if "CausalAttention" in source else "Attention"
    symbol = f"{name}.forward"
    return check(source, old, new, symbol, "corrected", probes=probes, agree=agree, flagged=flagged)


def masked(check: Check, new: str, source: str = INVERTED) -> Verdict:
    return corrected(check, source, "attn_mask=mask", new, "causality", flagged="attn_mask=mask")


def merged(check: Check, new: str, agree: str = "one token") -> Verdict:
    probes = ("causality", "permutation equivariance", "equal tokens")
    return corrected(check, MERGED, WITHOUT_TRANSPOSE, new, *probes, agree=agree)


def is_held(verdict: Verdict, words: str) -> bool:
    """Every trial that agrees was held against the oracle, which says so in these words."""
    agreeing = [trial.detail for trial in verdict.trials if trial.outcome == "agree"]
    return bool(agreeing) and all("after equals before, but for: " in each and words in each for each in agreeing)


def test_a_right_correction_equals_what_the_oracle_reads(check: Check) -> None:
    verdict = masked(check, "attn_mask=~mask")
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "mask inverted")
    assert "oracle" not in verdict.reason


@pytest.mark.parametrize(
    "new",
    [
        f"attn_mask={ITSELF_ALONE}",
        f"attn_mask={PREVIOUS_ALONE}",
        "attn_mask=mask.tril(0) | ~mask & (mask.roll(1, 1) | ~mask.mT)",
    ],
)
def test_another_causal_mask_than_the_inverted_one_is_refuted(check: Check, new: str) -> None:
    verdict = masked(check, new)
    assert verdict.verdict == "refuted", verdict
    assert "mask inverted" in verdict.reason


@pytest.mark.parametrize(
    "new",
    [
        "y.mean((1, 2), keepdim=True).expand(b, 4, t, -1).transpose(1, 2).reshape(b, t, c)",
        "y[:, :, :1].expand(b, 4, t, -1).transpose(1, 2).reshape(b, t, c) + 0 * y.transpose(1, 2).reshape(b, t, c)",
        "(y.transpose(1, 2) + y.mean((1, 2), keepdim=True)).reshape(b, t, c)",
        "v.transpose(1, 2).reshape(b, t, c)",
        "x",
        "y.new_zeros(b, t, c)",
        "y.permute(0, 2, 3, 1).reshape(b, t, c)",
    ],
    ids=["mean over all", "first token", "plus the mean", "values", "identity", "zeros", "heads inside"],
)
def test_another_merge_than_that_of_moved_dims_is_refuted(check: Check, new: str) -> None:
    assert merged(check, new).verdict == "refuted"


@pytest.mark.slow
def test_it_is_refuted_where_no_regime_is_left_to_compare(check: Check) -> None:
    verdict = merged(check, "(y.transpose(1, 2) + y.mean((1, 2), keepdim=True)).reshape(b, t, c)", agree="")
    assert verdict.verdict == "refuted", verdict
    assert "may mean" in verdict.reason


def test_a_split_in_the_order_of_the_tokens_equals_what_the_oracle_reads(check: Check) -> None:
    probes = ("causality", "permutation equivariance", "equal tokens")
    old, new = "view(b, self.num_heads, t, -1)", "view(b, t, self.num_heads, -1).transpose(1, 2)"
    verdict = corrected(check, SPLIT, old, new, *probes, agree="one token")
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "dims moved after")
    mean = f"{new[:-1]}).mean(2, keepdim=True).expand(b, 4, t, -1)"
    assert corrected(check, SPLIT, old, mean, *probes).verdict == "refuted"


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (SCALED, " dim ** -0.5", " (dim // num_heads) ** -0.5"),
        (UNSCALED, "k.transpose(-2, -1)", "k.transpose(-2, -1) / q.shape[-1] ** 0.5"),
        (UNSCALED, "q @ k.transpose(-2, -1)", "(q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)"),
    ],
    ids=["constructor", "product", "query"],
)
def test_the_root_of_the_width_is_the_scale_that_the_oracle_reads(
    check: Check, source: str, old: str, new: str
) -> None:
    verdict = corrected(check, source, old, new, "unit score variance")
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "scaled by the root of the width")


SHIFTED = SCALED.replace(
    "        y = torch.softmax(",
    "        moved = q @ self.value(x).view(b, t, self.num_heads, -1).permute(0, 2, 3, 1)\n"
    "        scores = scores + SHIFT * self.scale\n        y = torch.softmax(",
)


@pytest.mark.parametrize(
    ("shift", "held"),
    [("torch.cat([moved[..., 1:], moved[..., :1]], -1)", True), ("torch.sort(moved).values", False)],
    ids=["followed", "not followed"],
)
def test_scores_of_two_products_are_scaled_alike(check: Check, shift: str, held: bool) -> None:
    source = SHIFTED.replace("SHIFT", shift)
    assert shift in source
    verdict = corrected(check, source, " dim ** -0.5", " (dim // num_heads) ** -0.5", "unit score variance")
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "scaled by the root of the width") == held


@pytest.mark.parametrize("scale", ["1.1 * (dim // num_heads) ** -0.5", "0.9 * (dim // num_heads) ** -0.5", "0.35"])
def test_a_scale_within_the_tolerance_of_the_probe_is_refuted(check: Check, scale: str) -> None:
    verdict = corrected(check, SCALED, " dim ** -0.5", f" {scale}", "unit score variance")
    assert verdict.verdict == "refuted", verdict
    assert "scaled by the root of the width" in verdict.reason


@pytest.mark.parametrize("source", [OVER_QUERIES, WITH_LAYER], ids=["function", "layer"])
def test_the_softmax_over_the_keys_is_the_one_that_the_oracle_reads(check: Check, source: str) -> None:
    old = "dim=-2" if "dim=-2" in source else "dim=1"
    verdict = corrected(check, source, old, "dim=-1", "constant value")
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "over dim (-1)")


@pytest.mark.parametrize(
    "new", ["torch.softmax(scores, dim=1)", "torch.softmax(scores * 2, dim=-1)", "torch.full_like(scores, 1 / t)",
            "(torch.softmax(scores, dim=-1) + torch.full_like(scores, 1 / t)) / 2"],
)  # fmt: skip
def test_weights_that_sum_to_one_by_another_way_are_refuted(check: Check, new: str) -> None:
    verdict = corrected(check, OVER_QUERIES, "torch.softmax(scores, dim=-2)", new, "constant value")
    assert verdict.verdict == "refuted", verdict


def test_a_fill_is_held_against_the_least_number_and_minus_infinity(check: Check) -> None:
    for value in ('float("-inf")', "torch.finfo(scores.dtype).min", "-1e9"):
        verdict = corrected(check, TINY, "-1e-9", value, "causality", "masked key", flagged="-1e-9")
        assert verdict.verdict == "validated", verdict.reason
        assert is_held(verdict, "masked with")
    for value in ("-25.0", "-1e1"):
        assert corrected(check, TINY, "-1e-9", value, "causality", "masked key", flagged="-1e-9").verdict == "refuted"


def test_a_mask_of_numbers_is_held_against_a_boolean_one(check: Check) -> None:
    verdict = masked(check, "attn_mask=mask.bool()", NUMBERS)
    assert verdict.verdict == "validated", verdict.reason
    assert is_held(verdict, "mask made boolean")
    assert masked(check, f"attn_mask={ITSELF_ALONE}", NUMBERS).verdict == "refuted"


@pytest.mark.parametrize("new", ["dropout_p=0.0", "dropout_p=self.dropout if self.training else 0.0, scale=0.5"])
def test_dropout_off_in_train_mode_too_or_another_result_in_eval_mode_is_refuted(check: Check, new: str) -> None:
    verdict = corrected(check, DROPPING, UNGATED, new, "eval determinism", agree="train")
    assert verdict.verdict == "refuted", verdict


def test_a_result_that_differs_in_eval_mode_alone_is_refuted(check: Check) -> None:
    new = "dropout_p=self.dropout if self.training else 0.0, scale=None if self.training else 0.5"
    verdict = corrected(check, DROPPING, UNGATED, new, "eval determinism", agree="train")
    assert verdict.verdict == "refuted", verdict
    assert "no dropout in eval mode" in verdict.reason


def test_without_an_operation_that_is_known_the_verdict_says_that_no_oracle_was_asked(check: Check) -> None:
    source = INVERTED.replace(
        "y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)",
        "w = (q @ k.mT).exp() * mask.to(q.dtype).float()\n        y = (w / (w.sum(-1, keepdim=True) + 1e-6)) @ v",
    ).replace("triu(1)", "triu()")
    verdict = corrected(check, source, "* mask.to", "* mask.mT.to", "causality")
    assert verdict.verdict == "validated", verdict.reason
    assert "its meaning was not held against an oracle" in verdict.reason
    assert any("no oracle" in trial.detail for trial in verdict.trials)


LOST = TINY.replace("scores = scores.masked_fill(", "scores.masked_fill(").replace("-1e-9", 'float("-inf")')


@pytest.mark.parametrize("new", ["scores = ", "scores[:] = ", "scores = 2 * "])
def test_a_result_that_nobody_takes_is_held_by_its_tensor(check: Check, new: str) -> None:
    old = "        scores.masked_fill("
    assert LOST.count(old) == 1
    verdict = corrected(check, LOST, old, f"        {new}scores.masked_fill(", "causality", "masked key", flagged=old)
    is_right = "2" not in new
    assert verdict.verdict == ("validated" if is_right else "refuted"), verdict
    assert not is_right or is_held(verdict, "its result kept")
