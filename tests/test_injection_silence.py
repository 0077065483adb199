"""The injection benchmark names the sites that rules are silent about by their pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mha_lint.rules import rule_of
from tests.bench.injection.silence import (
    BIASED,
    CONFIGURED,
    INDEXED,
    LENGTHS_ASKED,
    MASKED_BEFORE,
    MASKED_OTHERWISE,
    MOVED,
    NO_ATTENTION,
    NORMALISED,
    NORMALISED_AGAIN,
    NUMBERS_UNKNOWN,
    ONE_HEAD,
    OWN_MOVE,
    QUERIES_CACHED,
    RATE_IS_GIVEN,
    REASONS,
    REGION_UNKNOWN,
    ROUNDED,
    SCORES_CAST,
)
from tests.bench.injection.sites import RULES
from tests.injected_texts import BY_HAND, CACHED, FUSED, UNMASKED, UNMASKED_FUSED, all_sites, silences

SILENCED = [
    (
        "MHA102",
        "helper",
        NO_ATTENTION,
        BY_HAND
        + """
    def split_heads(self, x):
        return x.view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
""",
    ),
    (
        "MHA103",
        "functional, True",
        RATE_IS_GIVEN,
        BY_HAND.replace("F.dropout(weights, 0.1,", "F.dropout(weights, p,").replace(
            "forward(self, x)", "forward(self, x, p)"
        ),
    ),
    ("MHA104", "model width", CONFIGURED, BY_HAND.replace("= self.head_dim**-0.5", "= scale or self.head_dim**-0.5")),
    ("MHA104", "left out", BIASED, BY_HAND.replace("  # a comment", " + self.bias")),
    ("MHA104", "left out", ONE_HEAD, BY_HAND.replace("num_heads", "n").replace("head_dim", "d_k")),
    (
        "MHA105",
        "dim 1",
        NORMALISED_AGAIN,
        BY_HAND.replace(
            "        return (weights",
            "        weights = weights / weights.sum(-1, keepdim=True)\n        return (weights",
        ),
    ),
    ("MHA106", "fill", REGION_UNKNOWN, BY_HAND.replace("(self.mask[:t, :t] == 0", "(mask")),
    ("MHA107", "fill moved", MASKED_BEFORE, BY_HAND.replace("  # a comment", " + mask")),
    (
        "MHA108",
        "fill",
        SCORES_CAST,
        BY_HAND.replace("scores = scores.masked_fill", "scores = scores.float().masked_fill"),
    ),
    (
        "MHA108",
        "where",
        ROUNDED,
        BY_HAND.replace(
            'scores.masked_fill(self.mask[:t, :t] == 0, float("-inf"))', 'torch.where(mask, scores, float("-inf"))'
        ),
    ),
    (
        "MHA109",
        "guard dropped",
        LENGTHS_ASKED,
        CACHED.replace("        return F", "        if cache.is_empty:\n            return F"),
    ),
    (
        "MHA110",
        "plain attribute",
        OWN_MOVE,
        BY_HAND + "\n    def _apply(self, fn):\n        return super()._apply(fn)\n",
    ),
    ("MHA110", "plain attribute", INDEXED, BY_HAND.replace("(self.mask[:t, :t] == 0", "(table[self.mask] == 0")),
    ("MHA110", "plain attribute", MOVED, BY_HAND.replace("self.mask[:t, :t] == 0", "self.mask.to(x.device) == 0")),
    ("MHA111", "zero", MASKED_OTHERWISE, BY_HAND.replace("  # a comment", " + mask")),
    ("MHA113", "to float", NUMBERS_UNKNOWN, FUSED),
]


def test_scores_with_a_scale_of_their_own_are_silent_by_page(tmp_path: Path) -> None:
    text = BY_HAND.replace("self.to_q(x).view", "self.q_norm(self.to_q(x)).view")
    assert {silence for (rule, _), silence in silences(tmp_path, text).items() if rule == "MHA104"} == {NORMALISED}
    assert {silence for (rule, _), silence in silences(tmp_path, BY_HAND).items() if rule == "MHA104"} == {""}


def test_a_norm_before_the_projections_does_not_silence_the_scale(tmp_path: Path) -> None:
    text = BY_HAND.replace("self.to_q(x).view", "self.to_q(self.norm(x)).view").replace(
        "dim, num_heads", "dim, num_heads, n=RMSNorm"
    )
    assert {silence for (rule, _), silence in silences(tmp_path, text).items() if rule == "MHA104"} == {""}


@pytest.mark.parametrize(
    ("rule", "form", "reason", "text"), SILENCED, ids=[f"{each[0]}-{each[2][:24]}" for each in SILENCED]
)
def test_a_mistake_that_a_page_excepts_is_a_site_with_the_reason(
    tmp_path: Path, rule: str, form: str, reason: str, text: str
) -> None:
    assert silences(tmp_path, text)[rule, form] == reason


def test_what_no_page_excepts_must_be_found(tmp_path: Path) -> None:
    natural = [site for site in all_sites(tmp_path, BY_HAND) if not site.injection.planted]
    assert {site.injection.rule for site in natural} >= {"MHA101", "MHA104", "MHA107", "MHA110"}
    assert {site.silent for site in natural} == {""}
    assert set(silences(tmp_path, UNMASKED).values()) == {""}
    cross = BY_HAND.replace("class Attention", "class CrossAttention").replace(
        "forward(self, x)", "forward(self, x, context)"
    )
    assert silences(tmp_path, cross) == silences(tmp_path, BY_HAND)


@pytest.mark.parametrize("rule", RULES)
def test_each_reason_for_silence_stands_on_the_page_of_its_rule(rule: str) -> None:
    page = " ".join((rule_of(rule).__doc__ or "").split())
    for reason in REASONS[rule]:
        assert reason in page


def test_a_cache_of_what_asks_too_is_silent_by_page(tmp_path: Path) -> None:
    planted = ("MHA109", "planted, cache and flag")
    same = UNMASKED_FUSED.replace("attention(q, k, v)", "attention(k, k, v)")
    assert silences(tmp_path, UNMASKED_FUSED)[planted] == ""
    assert silences(tmp_path, same)[planted] == QUERIES_CACHED


def test_a_mask_on_one_path_only_silences_nothing(tmp_path: Path) -> None:
    fill = 'scores = scores.masked_fill(mask, float("-inf"))'
    start = "weights = scores"
    always = UNMASKED.replace(start, f"{fill}\n        {start}")
    sometimes = UNMASKED.replace(start, f"if mask is not None:\n            {fill}\n        {start}")
    zeroed = ("MHA107", "planted, zeroed")
    assert silences(tmp_path, always)[zeroed] == MASKED_BEFORE
    assert silences(tmp_path, sometimes)[zeroed] == ""
