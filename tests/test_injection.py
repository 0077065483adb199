"""The injection bench writes exactly the mistakes that it names, and only where they are mistakes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injected import COLUMNS, _reasons, _row, _seed
from tests.bench.injection.outcomes import Outcome
from tests.bench.injection.silence import KEYS_UNKNOWN
from tests.bench.injection.sites import RULES, drawn
from tests.injected_texts import (
    BY_HAND,
    CACHED,
    EINOPS,
    FUSED,
    UNMASKED,
    UNMASKED_FUSED,
    all_sites,
    change,
    run,
    written,
)

MASKED_FORWARD = """def attention(q, k, v):
    scores = q @ k.transpose(-2, -1)
    mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights @ v
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
