"""The ground of MHA201 counts what is written by hand, tells what is lost, and gives each silence its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.by_hand import Finding, counts, matched, sites_of_folder
from tests.bench.hand_written.classes import sites_of
from tests.bench.hand_written.records import DISPATCHES, DROPS, KEEPS, Site

BENCH = Path(__file__).parent / "bench" / "by_hand.py"

ATTENTION = """class Attention(nn.Module):
    def __init__(self, dim, heads):
        self.attend = nn.Softmax(dim=-1)
        self.attn_drop = nn.Dropout(0.1)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.transpose(-2, -1) * self.scale
{scores}
        weights = scores.softmax(dim=-1)
{weights}
        out = weights @ v
        return {returned}
"""


def written(scores: str = "", weights: str = "", returned: str = "self.proj(out)") -> str:
    return ATTENTION.format(scores=f"        {scores}", weights=f"        {weights}", returned=returned)


def only(text: str) -> Site:
    (site,) = sites_of("a.py", text)
    return site


def test_a_site_has_the_rows_of_both_products_and_of_the_softmax() -> None:
    site = only(written())
    assert (site.first, site.softmax, site.last) == (8, 10, 12)
    assert (site.function, site.kind, site.reasons) == ("Attention.forward", DROPS, ())


@pytest.mark.parametrize(
    ("scores", "weights", "form"),
    [
        ("scores = scores + mask", "", "added mask"),
        ("scores += self.relative_position_bias", "", "added bias"),
        ("scores = scores.masked_fill(mask == 0, -1e9)", "", "masked_fill"),
        ("scores = torch.where(mask, scores, low)", "", "where"),
        ("scores[mask] = low", "", "mask by index"),
        ("scores = scores.float()", "weights = weights.type_as(v)", "float32"),
        ("scores = scores + q @ self.r(x)", "", "relative bias of a product"),
        ("", "weights = self.attn_drop(weights)", "dropout"),
        ("", "weights = F.dropout(weights, 0.1, self.training)", "dropout"),
    ],
)
def test_what_the_rewrite_has_to_keep_is_a_form_and_no_reason(scores: str, weights: str, form: str) -> None:
    site = only(written(scores, weights))
    assert form in site.forms
    assert (site.kind, site.reasons) == (DROPS, ())


@pytest.mark.parametrize(
    ("scores", "weights", "reason"),
    [
        ("scores = 30 * torch.tanh(scores / 30)", "", "softcap"),
        ("scores = self.talk(scores)", "", "talking heads"),
        ("", "weights = self.talk(weights)", "talking heads"),
        ("", "weights = torch.einsum('bhij,hg->bgij', weights, self.reattn)", "talking heads"),
        ("scores = torch.cat([scores, self.sinks], dim=-1)", "weights = weights[..., :-1]", "sinks"),
        ("", "weights = weights[..., :-1]", "cut off"),
        ("top, where = scores.topk(8, dim=-1)\n        scores = top", "", "top-k"),
        ("scores = scores * mask", "", "no scale"),
        ("scores = F.relu(scores)", "", "another function"),
        ("scores = self.attn_drop(scores)", "", "dropout acts on the scores"),
        ("", "weights = weights / (weights.sum(-1, keepdim=True) + 1e-9)", "changed after the softmax"),
        ("", "weights = weights * mask", "changed after the softmax"),
        ("", "weights = weights.masked_fill(mask, 0.0)", "masked otherwise"),
        ("", "relative = weights @ self.r(x)", "several products"),
        ("", "weights = weights.transpose(-2, -1)", "does not run over the dim"),
        ("self.last_scores = scores", "", "the scores are returned, stored"),
        ("if self.fused:\n            return F.scaled_dot_product_attention(q, k, v)", "", "fused branch"),
    ],
)
def test_what_forbids_the_rewrite_is_a_reason(scores: str, weights: str, reason: str) -> None:
    site = only(written(scores, weights))
    assert site.kind == DROPS
    assert any(reason in told for told in site.reasons), site.reasons


def test_a_mask_of_weights_that_the_scores_had_is_no_reason() -> None:
    filled = only(written("scores = scores.masked_fill(mask, low)", "weights = weights.masked_fill(mask, 0.0)"))
    assert filled.reasons == ()


@pytest.mark.parametrize(
    ("weights", "returned"),
    [
        ("", "out, weights"),
        ("", "(out, weights) if self.output_attentions else (out,)"),
        ("self.attn = weights", "out"),
        ("self.maps.append(weights)", "out"),
        ("outputs = {'weights': weights}", "out, outputs"),
    ],
)
def test_weights_that_leave_the_function_are_kept(weights: str, returned: str) -> None:
    assert only(written("", weights, returned)).kind == KEEPS


def test_what_only_asks_of_weights_keeps_nothing() -> None:
    asked = "assert weights.shape[-1] == k.shape[-2] and not torch.isnan(weights).any()"
    assert only(written("", asked)).kind == DROPS


def test_a_fused_branch_in_a_subclass_is_a_reason() -> None:
    fused = (
        "class Fused(Attention):\n    def forward(self, q):\n        return F.scaled_dot_product_attention(q, q, q)\n"
    )
    assert only(written()).reasons == ()
    assert only(written() + fused).reasons == ("a fused branch in the same class, its base or a subclass",)


def test_a_softmax_layer_is_a_softmax_and_tells_its_dim() -> None:
    text = written().replace("scores.softmax(dim=-1)", "self.attend(scores)")
    assert only(text).reasons == ()
    assert only(text.replace("nn.Softmax(dim=-1)", "nn.Softmax(dim=1)")).reasons == (
        "softmax over another dim than the last",
    )
    layers = "nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(0.1))"
    assert only(text.replace("nn.Softmax(dim=-1)", layers)).reasons == ()


def test_softmaxes_that_go_into_one_product_are_one_site() -> None:
    text = written("if mask is not None:\n            scores = scores + mask")
    both = text.replace(
        "        weights = scores.softmax(dim=-1)",
        "        if self.half:\n            weights = scores.float().softmax(-1)\n"
        "        else:\n            weights = scores.softmax(-1)",
    )
    assert only(both).reasons == ()


def test_products_in_both_arms_of_an_if_are_not_several() -> None:
    arms = written().replace(
        "        out = weights @ v\n",
        "        if self.turned:\n            return v @ weights.transpose(-2, -1)\n        out = weights @ v\n",
    )
    assert "the weights go into several products" not in only(arms).reasons


EINSUM = """def attend(q, k, v):
    weights = torch.einsum('{scores}', q, k).softmax(dim={dim})
    return torch.einsum('{values}', weights, v)
"""


@pytest.mark.parametrize(
    ("scores", "dim", "values", "reasons"),
    [
        ("bhid,bhjd->bhij", -1, "bhij,bhjd->bhid", 0),
        ("bhid,bhjd->bhij", 3, "bhij,bhjd->bhid", 0),
        ("nd,md->nm", 1, "nm,md->nd", 0),
        ("bhid,bhjd->bhij", 1, "bhij,bhjd->bhid", 1),
        ("bhid,bhjd->bhij", -1, "bhij,bhid->bhjd", 1),
    ],
)
def test_letters_tell_the_dim(scores: str, dim: int, values: str, reasons: int) -> None:
    assert len(only(EINSUM.format(scores=scores, dim=dim, values=values)).reasons) == reasons


def test_a_function_that_models_look_up_is_a_dispatcher() -> None:
    text = "def eager_attention_forward(module, q, k, v):\n    w = (q @ k).softmax(-1)\n    return w @ v, w\n"
    assert only(text).kind == DISPATCHES


def test_scores_and_weights_of_other_functions_are_counted_with_a_reason() -> None:
    scores = "def attend(scores, v):\n    return F.softmax(scores, dim=-1) @ v\n"
    weights = "def attend(attn, q, k, v):\n    return torch.bmm(attn.get_attention_scores(q, k), v)\n"
    assert only(scores).reasons == ("the scores are made by another function or layer",)
    assert only(weights).reasons == ("the softmax stands in another function",)


@pytest.mark.parametrize(
    "text",
    [
        "def loss(q, k):\n    return (q @ k).softmax(-1).log()\n",
        "def route(self, x):\n    return F.softmax(self.gate(x), dim=-1) @ self.experts\n",
        "def classes(self, class_logits, masks):\n    return F.softmax(class_logits, dim=-1) @ masks\n",
        "def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n",
    ],
)
def test_what_is_no_attention_is_no_site(text: str) -> None:
    assert sites_of("a.py", text) == []


def test_a_finding_counts_for_the_site_whose_rows_hold_it(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(written())
    (tmp_path / "b.py").write_text(written("scores = self.talk(scores)"))
    sites = sites_of_folder(tmp_path)
    path = str((tmp_path / "a.py").resolve())
    assert matched(sites, [Finding(path, 7), Finding(path, 13)]) == set()
    found = matched(sites, [Finding(path, 10)])
    assert [site.path for site in found] == [path]
    assert counts("p", sites, found) == ["p", "2", "0", "0", "2", "1", "1", "1", "0"]
    assert counts("p", sites, set())[-2:] == ["0", "1"]


def test_the_command_asks_the_linter_and_lists_every_site(tmp_path: Path) -> None:
    lines = written("scores = scores.contiguous().reshape(scores.shape)")
    (tmp_path / "a.py").write_text(f"import torch\nfrom torch import nn\n\n\n{lines}")
    told = tmp_path / "sites.json"
    command = [sys.executable, str(BENCH), str(tmp_path), "--show", "--rule", "MHA004", "--json", str(told)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"| {tmp_path.name} | 1 | 0 | 0 | 1 | 0 | 1 | 1 | 0 |" in result.stdout
    assert "found | a.py:12-14-16 | Attention.forward" in result.stdout
    (site,) = json.loads(told.read_text())
    assert site["found"] is True


def test_a_rule_that_is_not_installed_leaves_the_ground(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(written())
    command = [sys.executable, str(BENCH), str(tmp_path), "--rule", "MHA999"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "MHA999 is not installed" in result.stdout
    assert "| 1 | 0 | 0 | 1 | 0 | 1 | 0 | 1 |" in result.stdout
