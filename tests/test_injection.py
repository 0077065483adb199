"""The injection bench writes exactly the mistakes that it names, and only where they are mistakes."""

from __future__ import annotations

import ast
import difflib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mha_lint.rules import rule_of
from tests.bench.injected import COLUMNS, _reasons, _row, _seed
from tests.bench.injection.outcomes import Outcome
from tests.bench.injection.silence import (
    AUTOCAST_IS_SET,
    BIASED,
    CAST_UNKNOWN,
    CONFIGURED,
    FREQUENCIES_UNKNOWN,
    HANDED_ANGLES,
    INDEXED,
    KEYS_UNKNOWN,
    LENGTHS_ASKED,
    MASKED_BEFORE,
    MASKED_OTHERWISE,
    MOVED,
    NO_ATTENTION,
    NORMALISED,
    NORMALISED_AGAIN,
    NUMBERS_UNKNOWN,
    OF_PARTS,
    ONE_HEAD,
    OWN_MOVE,
    POSITIONS_GIVEN,
    QUERIES_CACHED,
    RATE_IS_GIVEN,
    REASONS,
    REGION_UNKNOWN,
    ROUNDED,
    SCORES_CAST,
)
from tests.bench.injection.sites import RULES, Site, drawn, sites_of

HEAD = "import math\nimport torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n\n"

BY_HAND = """class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.register_buffer("mask", torch.tril(torch.ones(64, 64)))
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.to_q(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.to_k(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.to_v(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        scores = (q @ k.transpose(2, 3)) * self.scale  # a comment
        scores = scores.masked_fill(self.mask[:t, :t] == 0, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        weights = F.dropout(weights, 0.1, training=self.training)
        return (weights @ v).transpose(1, 2).contiguous().view(b, t, c)
"""

FUSED = """class Attention(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        self.p = 0.1

    def forward(self, q, k, v, mask=None):
        mask = mask.bool()
        return F.scaled_dot_product_attention(
            q, k, v,
            attn_mask=mask,
            dropout_p=self.p if self.training else 0.0,
        )
"""

CACHED = """class Attention(nn.Module):
    def forward(self, q, k, v, cache):
        q_len = q.shape[-2]
        k, v = cache.update(k, v)
        is_causal = self.causal and q_len > 1
        return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
"""

UNMASKED = """class Attention(nn.Module):
    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1)
        weights = scores.softmax(dim=-1)
        return weights @ v
"""

UNMASKED_FUSED = """class Attention(nn.Module):
    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return out
"""

MASKED_FORWARD = """def attention(q, k, v):
    scores = q @ k.transpose(-2, -1)
    mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights @ v
"""

ROTARY = """class RotaryEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device)
        freqs = torch.outer(positions.float(), self.inv_freq.float())
        freqs = torch.cat((freqs, freqs), dim=-1)
        return freqs.cos(), freqs.sin()


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.rotary = RotaryEmbedding(width // heads)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        cos, sin = self.rotary(x)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
"""
LAID = "freqs = torch.cat((freqs, freqs), dim=-1)"
TURNED = "return torch.cat((-x2, x1), dim=-1)"
BY_NEIGHBOURS = ROTARY.replace(LAID, "freqs = freqs.repeat_interleave(2, dim=-1)").replace(
    "x1, x2 = x.chunk(2, dim=-1)\n    return torch.cat((-x2, x1), dim=-1)",
    "x1, x2 = x[..., ::2], x[..., 1::2]\n    return torch.stack((-x2, x1), dim=-1).flatten(-2)",
)

EINOPS = """class Attention(nn.Module):
    def forward(self, x):
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), qkv)
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        out = weights @ v
        return rearrange(out, "b h n d -> b n (h d)")
"""


def test_every_mistake_in_hand_written_attention_is_the_intended_text(tmp_path: Path) -> None:
    found = written(tmp_path, BY_HAND)
    split = "self.to_q(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)"
    assert found["MHA101", "in one chain"] == change(
        "return (weights @ v).transpose(1, 2).contiguous().view(b, t, c)",
        "return (weights @ v).contiguous().view(b, t, c)",
    )
    assert found["MHA101", "with its contiguous"] == change(
        "return (weights @ v).transpose(1, 2).contiguous().view(b, t, c)", "return (weights @ v).view(b, t, c)"
    )
    assert found["MHA102", "in one chain"] == change(
        f"q = {split}", "q = self.to_q(x).view(b, self.num_heads, t, self.head_dim)"
    )
    dropout = "weights = F.dropout(weights, 0.1, training=self.training)"
    assert found["MHA103", "functional, no training"] == change(dropout, "weights = F.dropout(weights, 0.1)")
    assert found["MHA103", "functional, True"] == change(dropout, "weights = F.dropout(weights, 0.1, training=True)")
    scale = "self.scale = self.head_dim**-0.5"
    assert found["MHA104", "model width"] == change(scale, "self.scale = dim**-0.5")
    assert found["MHA104", "heads"] == change(scale, "self.scale = num_heads**-0.5")
    assert found["MHA104", "inverted"] == change(scale, "self.scale = self.head_dim**0.5")
    assert found["MHA104", "left out"] == change(
        "scores = (q @ k.transpose(2, 3)) * self.scale  # a comment", "scores = (q @ k.transpose(2, 3))  # a comment"
    )
    softmax = "weights = F.softmax(scores, dim=-1)"
    for dim in ("1", "2", "-2"):
        assert found["MHA105", f"dim {dim}"] == change(softmax, f"weights = F.softmax(scores, dim={dim})")
    assert found["MHA105", "no dim"] == change(softmax, "weights = F.softmax(scores)")
    fill = 'scores = scores.masked_fill(self.mask[:t, :t] == 0, float("-inf"))'
    assert found["MHA106", "fill"] == change(fill, fill.replace("== 0", "!= 0"))
    assert found["MHA107", "fill moved"] == (
        [fill],
        ["weights = weights.masked_fill(self.mask[:t, :t] == 0, 0.0)"],
    )
    assert found["MHA108", "fill"] == change(fill, fill.replace('float("-inf")', "-1e9"))
    assert found["MHA111", "tiny"] == change(fill, fill.replace('float("-inf")', "-1e-9"))
    assert found["MHA111", "zero"] == change(fill, fill.replace('float("-inf")', "0"))
    assert found["MHA110", "plain attribute"] == change(
        'self.register_buffer("mask", torch.tril(torch.ones(64, 64)))', "self.mask = torch.tril(torch.ones(64, 64))"
    )


def test_every_mistake_about_fused_attention_is_the_intended_text(tmp_path: Path) -> None:
    found = written(tmp_path, FUSED)
    gated = "dropout_p=self.p if self.training else 0.0,"
    assert found == {
        ("MHA103", "sdpa"): change(gated, "dropout_p=self.p,"),
        ("MHA104", "scaled twice, fused"): change("q, k, v,", "q * q.shape[-1] ** -0.5, k, v,"),
        ("MHA112", "flag added"): change(gated, "dropout_p=self.p if self.training else 0.0, is_causal=True,"),
        ("MHA113", "to float"): change("mask = mask.bool()", "mask = mask.float()"),
        ("MHA114", "numbers"): change("mask = mask.bool()", "mask.bool()"),
        ("MHA122", "mask not given"): change("attn_mask=mask,", "attn_mask=None,"),
    }
    assert written(tmp_path, CACHED) == {
        ("MHA104", "scaled twice, fused"): change(
            "return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)",
            "return F.scaled_dot_product_attention(q * q.shape[-1] ** -0.5, k, v, is_causal=is_causal)",
        ),
        ("MHA109", "guard dropped"): change("is_causal = self.causal and q_len > 1", "is_causal = True"),
    }


def test_a_mask_that_is_made_where_it_is_used_loses_its_device_or_its_meaning(tmp_path: Path) -> None:
    found = written(tmp_path, MASKED_FORWARD)
    made = "mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()"
    assert found["MHA110", "no device"] == change(made, made.replace(", device=q.device", ""))
    fill = 'scores = scores.masked_fill(~mask, float("-inf"))'
    assert found["MHA106", "fill"] == change(fill, fill.replace("~mask", "mask"))


@pytest.mark.parametrize("text", [UNMASKED, UNMASKED_FUSED], ids=["by hand", "fused"])
def test_a_planted_mask_is_right_in_the_text_to_compare_with_and_wrong_in_the_other(tmp_path: Path, text: str) -> None:
    """The right text attends to the past alone; each wrong one differs, but for what only CUDA or float16 show."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    planted = [site for site in all_sites(tmp_path, text) if site.injection.planted]
    assert {site.injection.rule for site in planted} >= {"MHA106", "MHA110"}
    for site in planted:
        rule = site.injection.rule
        if rule == "MHA109":
            continue  # a flag with a cache, which no call here gives
        right = run(site.right, x)
        if rule == "MHA124":  # a mask of zeros, which hides nothing where its shape is right
            with pytest.raises(RuntimeError, match="size"):
                run(site.wrong, x)
            continue
        seen = 2 if rule == "MHA112" else 4  # that one's mask is a window of two tokens to each side
        assert torch.equal(right[:, :, :seen], run(site.right, changed)[:, :, :seen]), site.injection.form
        if rule == "MHA112":
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # others take both together
                run(site.right, x)
                with pytest.raises(RuntimeError, match="attn_mask should not be set when is_causal"):
                    run(site.wrong, x)
        elif rule in ("MHA108", "MHA110"):  # what float16 and CUDA show
            assert torch.equal(right, run(site.wrong, x)), site.injection.form
        else:
            assert not torch.allclose(right, run(site.wrong, x), equal_nan=False), site.injection.form


def test_a_draw_is_the_same_each_time_and_takes_two_sites_a_class(tmp_path: Path) -> None:
    found = all_sites(tmp_path, BY_HAND)
    chosen = drawn(found, 0, seed=3)
    assert chosen == drawn(found, 0, seed=3)
    counts = [sum(site.injection.rule == rule for site in chosen) for rule in RULES]
    assert max(counts) == 2
    assert not any(site.injection.planted for site in chosen if site.injection.rule in ("MHA106", "MHA111"))
    assert any(drawn(found, 0, seed=3) != drawn(found, 0, seed=seed) for seed in range(4, 10))


def test_attention_with_one_query_has_no_layout_to_get_wrong(tmp_path: Path) -> None:
    text = BY_HAND.replace("view(b, t,", "view(b, 1,").replace("head_dim).transpose(1, 2)", "head_dim).transpose(1, 2)")
    assert not {"MHA101", "MHA102"} & {rule for rule, _ in written(tmp_path, text)}


def test_scores_with_a_scale_of_their_own_are_silent_by_page(tmp_path: Path) -> None:
    text = BY_HAND.replace("self.to_q(x).view", "self.q_norm(self.to_q(x)).view")
    assert {silence for (rule, _), silence in silences(tmp_path, text).items() if rule == "MHA104"} == {NORMALISED}
    assert {silence for (rule, _), silence in silences(tmp_path, BY_HAND).items() if rule == "MHA104"} == {""}


def test_a_norm_before_the_projections_does_not_silence_the_scale(tmp_path: Path) -> None:
    text = BY_HAND.replace("self.to_q(x).view", "self.to_q(self.norm(x)).view").replace(
        "dim, num_heads", "dim, num_heads, n=RMSNorm"
    )
    assert {silence for (rule, _), silence in silences(tmp_path, text).items() if rule == "MHA104"} == {""}


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
    (
        "MHA119",
        "table by repeat_interleave",
        OF_PARTS,
        ROTARY.replace(LAID, f"freqs = torch.cat((freqs_h, freqs_w), dim=-1)\n        {LAID}"),
    ),
    (
        "MHA119",
        "table by stack and flatten",
        FREQUENCIES_UNKNOWN,
        ROTARY.replace("10000 ** (torch.arange(0, width, 2).float() / width)", "given"),
    ),
    ("MHA119", "rotation by neighbours", HANDED_ANGLES, ROTARY.replace("= RotaryEmbedding(", "= made(")),
    (
        "MHA120",
        "frequencies to half",
        AUTOCAST_IS_SET,
        ROTARY.replace(LAID, f"with torch.autocast('cuda', enabled=False):\n            {LAID}"),
    ),
    (
        "MHA120",
        "frequencies to the activations",
        CAST_UNKNOWN,
        ROTARY.replace("torch.arange(0, width, 2).float()", "steps").replace("torch.arange(", "positions_of("),
    ),
    (
        "MHA120",
        "upcast dropped",
        POSITIONS_GIVEN,
        ROTARY.replace("        positions = torch.arange(x.shape[1], device=x.device)\n", "").replace(
            "def forward(self, x):\n        freqs", "def forward(self, x, positions):\n        freqs"
        ),
    ),
]


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


def test_heads_that_einops_moves_are_reshaped_instead(tmp_path: Path) -> None:
    found = written(tmp_path, EINOPS)
    assert found["MHA102", "einops, mapped"] == change(
        'q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), qkv)',
        "q, k, v = map(lambda t: t.reshape(t.shape[0], self.heads, t.shape[1], -1), qkv)",
    )
    assert found["MHA101", "einops"] == change(
        'return rearrange(out, "b h n d -> b n (h d)")', "return out.reshape(out.shape[0], out.shape[2], -1)"
    )


def test_code_that_is_never_reached_has_no_mistake(tmp_path: Path) -> None:
    text = UNMASKED.replace("        weights =", "        assert False, 'not written yet'\n        weights =")
    assert not all_sites(tmp_path, text)


def test_attention_of_the_same_name_that_is_not_torchs_is_left_alone(tmp_path: Path) -> None:
    call = UNMASKED_FUSED.replace("F.scaled_dot_product_attention", "scaled_dot_product_attention")
    of_torch = "from torch.nn.functional import scaled_dot_product_attention\n" + call
    of_the_package = "from .attend import scaled_dot_product_attention\n" + call
    assert all_sites(tmp_path, of_torch)
    assert not all_sites(tmp_path, of_the_package)


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


def test_the_table_counts_what_must_be_found_apart_from_what_is_silent_by_page(tmp_path: Path) -> None:
    found = [site for site in all_sites(tmp_path, BY_HAND) if site.injection.rule == "MHA105"]
    silent = [replace(site, injection=replace(site.injection, silent=KEYS_UNKNOWN)) for site in found]
    outcomes = [Outcome(found[0], found=True), Outcome(found[1]), Outcome(silent[2], found=True), Outcome(silent[3])]
    cells = [cell.strip() for cell in _row("MHA105", outcomes, fix=False).strip("|").split("|")]
    told = dict(zip(["rule", *COLUMNS.split(" | ")], cells, strict=True))
    assert told["sites"] == "4"
    assert told["silent by page"] == "2 (found all the same: 1)"
    assert told["to be found"] == "2"
    assert told["found"] == "1 (50 %)"
    assert told["found of all"] == "2 (50 %)"
    assert list(_reasons(outcomes)) == [f"MHA105: 2 silent, 1 found all the same: {KEYS_UNKNOWN}"]


def test_a_random_seed_is_printed_so_that_its_draw_can_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert _seed("7") == 7
    drawn_seed = _seed("random")
    assert capsys.readouterr().out == f"seed {drawn_seed}\n"


def test_packages_take_turns_in_a_draw(tmp_path: Path) -> None:
    large = all_sites(
        tmp_path,
        "".join(
            f"class A{i}{BY_HAND[15:]}\n\n".replace("Linear(dim, dim)", f"Linear(dim, dim + {i})") for i in range(9)
        ),
    )
    small = [replace(site, package="small", path=site.path.with_name("other.py")) for site in large[: len(large) // 9]]
    chosen = drawn(large + small, 2, seed=0)
    assert {site.package for site in chosen if site.injection.rule == "MHA105"} == {"", "small"}


# --- what a site writes


def all_sites(folder: Path, text: str) -> list[Site]:
    path = folder / "attention.py"
    path.write_text(HEAD + text)
    return sites_of(path)


def silences(folder: Path, text: str) -> dict[tuple[str, str], str]:
    """The reason for silence by rule and form, "" where the rule must speak; of several sites of a form, the last."""
    return {(site.injection.rule, site.injection.form): site.silent for site in all_sites(folder, text)}


def written(folder: Path, text: str) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """Rows that go and rows that come, stripped, by rule and form; of several sites of a form, the first."""
    found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for site in all_sites(folder, text):
        ast.parse(site.wrong)
        if not site.injection.planted:
            rows = difflib.ndiff(site.right.decode().splitlines(), site.wrong.decode().splitlines())
            both = [row for row in rows if row[:2] in ("- ", "+ ")]
            gone, come = ([row[2:].strip() for row in both if row[0] == sign] for sign in "-+")
            found.setdefault((site.injection.rule, site.injection.form), (gone, come))
    return found


def change(before: str, after: str) -> tuple[list[str], list[str]]:
    return [before], [after]


def run(text: bytes, x: object) -> object:
    """The output of the class in the text, with one projection that splits into three times two heads of width 4."""
    import torch

    scope: dict[str, Any] = {}
    exec(text.decode(), scope)
    module = scope["Attention"]()
    torch.manual_seed(1)
    module.qkv, module.heads = torch.nn.Linear(8, 24), 2
    return module.eval()(x)


EQUATIONS = """class Attention(nn.Module):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).unbind(2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k)
        scores = scores.masked_fill(mask, float("-inf"))
        scores = scores.float()
        weights = scores.softmax(dim=-1)
        y = torch.einsum("b h i j, b j h d -> b i h d", weights, v).flatten(2)
        return torch.einsum("btc,ce->bte", y, self.merge)
"""


def test_results_that_nobody_takes_and_diagonals_are_the_intended_text(tmp_path: Path) -> None:
    found = written(tmp_path, EQUATIONS)
    assert found["MHA114", "fill"] == change(
        'scores = scores.masked_fill(mask, float("-inf"))', 'scores.masked_fill(mask, float("-inf"))'
    )
    assert found["MHA114", "numbers"] == change("scores = scores.float()", "scores.float()")
    assert found["MHA123", "weights"] == change(
        'y = torch.einsum("b h i j, b j h d -> b i h d", weights, v).flatten(2)',
        'y = torch.einsum("b h j j, b j h d -> b j h d", weights, v).flatten(2)',
    )
    assert found["MHA123", "map"] == change(
        'return torch.einsum("btc,ce->bte", y, self.merge)', 'return torch.einsum("btc,cc->btc", y, self.merge)'
    )


def test_a_planted_mask_of_entries_lacks_the_heads_in_the_wrong_text_alone(tmp_path: Path) -> None:
    planted = {each.injection.form: each for each in all_sites(tmp_path, BY_HAND) if each.injection.rule == "MHA124"}
    assert planted.keys() == {"planted, rows", "planted, pairs"}
    for each in planted.values():
        assert b"scores.shape[0], 1, 1, scores.shape[-1]" in each.right
        assert b"1, 1" not in each.wrong


def test_angles_and_rotations_are_written_in_the_other_way(tmp_path: Path) -> None:
    found = written(tmp_path, ROTARY)
    assert found["MHA119", "table by repeat_interleave"] == change(LAID, "freqs = freqs.repeat_interleave(2, dim=-1)")
    assert found["MHA119", "table by stack and flatten"] == change(
        LAID, "freqs = torch.stack((freqs, freqs), dim=-1).flatten(-2)"
    )
    assert found["MHA119", "rotation by neighbours"] == change(
        TURNED, "return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)"
    )
    back = written(tmp_path, BY_NEIGHBOURS)
    assert back["MHA119", "table by cat"] == change("freqs = freqs.repeat_interleave(2, dim=-1)", LAID)
    assert back["MHA119", "rotation by halves"] == change(
        "return torch.stack((-x2, x1), dim=-1).flatten(-2)",
        "return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)",
    )


def test_a_factor_of_angles_loses_its_precision(tmp_path: Path) -> None:
    found = written(tmp_path, ROTARY)
    product = "freqs = torch.outer(positions.float(), self.inv_freq.float())"
    wrong = {
        "frequencies to half": product.replace("inv_freq.float()", "inv_freq.half()"),
        "frequencies to the activations": product.replace("inv_freq.float()", "inv_freq.to(x.dtype)"),
        "positions to the activations": product.replace("positions.float()", "positions.to(x.dtype)"),
        "upcast dropped": "freqs = torch.outer(positions, self.inv_freq)",
    }
    assert {form: found["MHA120", form] for form in wrong} == {
        form: change(product, text) for form, text in wrong.items()
    }


@pytest.mark.parametrize("text", [ROTARY, BY_NEIGHBOURS], ids=["halves", "neighbours"])
def test_a_layout_that_does_not_fit_makes_scores_depend_on_more_than_a_distance(tmp_path: Path, text: str) -> None:
    torch = pytest.importorskip("torch")
    for site in (site for site in all_sites(tmp_path, text) if site.injection.rule == "MHA119"):
        drifts = []
        for source in (site.right, site.wrong):
            scope: dict[str, Any] = {}
            exec(source.decode(), scope)
            q, k = torch.randn(2, 1, 8).double().expand(2, 12, 8)
            cos, sin = scope["RotaryEmbedding"](8)(q[None])
            turned = [each * cos + scope["rotate_half"](each) * sin for each in (q, k)]
            diagonal = (turned[0] @ turned[1].T).diagonal()
            drifts.append(float((diagonal - diagonal[0]).abs().max()))
        assert drifts[0] < 1e-5 < 1e-2 < drifts[1], site.injection.form


def test_a_layout_that_nothing_here_rotates_by_is_no_site(tmp_path: Path) -> None:
    alone = ROTARY.replace(TURNED, "return x")
    assert "MHA119" not in {rule for rule, _ in written(tmp_path, alone)}
    both = ROTARY + BY_NEIGHBOURS[BY_NEIGHBOURS.index("def rotate_half") : BY_NEIGHBOURS.index("class Attention")]
    assert "MHA119" not in {rule for rule, _ in written(tmp_path, both)}


def test_scores_are_scaled_twice(tmp_path: Path) -> None:
    fused = written(tmp_path, UNMASKED_FUSED)
    call = "out = F.scaled_dot_product_attention(q, k, v)"
    assert fused["MHA104", "scaled twice, fused"] == change(call, call.replace("(q,", "(q * q.shape[-1] ** -0.5,"))
    assert ("MHA104", "scaled twice, fused") not in written(tmp_path, UNMASKED_FUSED.replace("v)", "v, scale=1.0)"))
    scaled = "scores = (q @ k.transpose(2, 3)) * self.scale  # a comment"
    assert written(tmp_path, BY_HAND)["MHA104", "scaled twice"] == change(
        scaled, scaled.replace("self.scale", "self.scale * q.shape[-1] ** -0.5")
    )
    assert ("MHA104", "scaled twice") not in written(tmp_path, BY_HAND.replace("self.head_dim**-0.5", "1.0"))
