"""The injection bench takes flags and transposes away, and turns positions, where the page of the rule must speak."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injection.silence import REASONS, TOO_LITTLE_TELLS, UNKNOWN_WHICH_IS_FIRST
from tests.bench.injection.sites import Site, sites_of

HEAD = "import torch\nfrom torch import nn\n\n\n"
PATCHES = """class Vit(nn.Module):
    def __init__(self, d, heads, n):
        super().__init__()
        self.conv = nn.Conv2d(3, d, 4, 4)
        self.pos_embed = nn.Parameter(torch.zeros(1, n, d))
        self.attn = nn.MultiheadAttention(d, heads, batch_first=True)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = x + self.pos_embed
        return self.attn(x, x, x)[0].mean(dim=1)
"""
ALONE = """class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, heads, batch_first=True)

    def forward(self, x):
        return self.attn(x, x, x)[0]
"""
TURNED = """class Turned(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, heads)

    def forward(self, x):
        x = x.transpose(0, 1)
        x = self.attn(x, x, x)[0]
        return x.transpose(0, 1).mean(dim=1)
"""
OWN = """class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads

    def forward(self, x):
        b, n, c = x.shape
        return x


class Block(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.attn = Attention(dim, num_heads=num_heads)

    def forward(self, x):
        return x + self.attn(x)
"""
NUMBERED = """class Text(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.tokens = nn.Embedding(n, d)
        self.wpe_pos = nn.Embedding(n, d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)

    def forward(self, ids):
        x = self.tokens(ids)
        x = x + self.wpe_pos(torch.arange(ids.shape[1]))
        return self.attn(x, x, x)[0].mean(dim=1)
"""


def found(tmp_path: Path, text: str, rule: str) -> list[Site]:
    path = tmp_path / "code.py"
    path.write_text(HEAD + text)
    return sites_of(path, frozenset({rule}))


def changed(site: Site) -> list[str]:
    """The rows of the wrong text that the right one doesn't have."""
    right = site.right.decode().splitlines()
    return [row.strip() for row in site.wrong.decode().splitlines() if row not in right]


def test_the_flag_is_left_out(tmp_path: Path) -> None:
    (site,) = found(tmp_path, PATCHES, "MHA117")
    assert changed(site) == ["self.attn = nn.MultiheadAttention(d, heads)"]
    assert site.injection.form == "flag left out" and not site.silent


def test_a_layer_about_which_nothing_is_told_is_silent_by_its_page(tmp_path: Path) -> None:
    assert [site.silent for site in found(tmp_path, ALONE, "MHA117")] == [TOO_LITTLE_TELLS]


def test_a_flag_that_is_wrong_as_it_is_is_no_site(tmp_path: Path) -> None:
    assert found(tmp_path, ALONE.replace("self.attn(x,", "self.attn(x.transpose(0, 1),"), "MHA117") == []


def test_a_layer_of_another_library_is_no_site(tmp_path: Path) -> None:
    text = ALONE.replace("nn.MultiheadAttention", "MultiheadAttention")
    assert found(tmp_path, "from mmcv import MultiheadAttention\n" + text, "MHA117") == []
    assert len(found(tmp_path, "from torch.nn import MultiheadAttention\n" + text, "MHA117")) == 1


def test_both_transposes_are_left_out(tmp_path: Path) -> None:
    (site,) = found(tmp_path, TURNED, "MHA117")
    assert changed(site) == ["x = x", "return x.mean(dim=1)"]
    assert site.injection.form == "transposes left out"


def test_attention_of_its_own_becomes_a_layer_of_torch_with_the_flag_and_without(tmp_path: Path) -> None:
    (site,) = found(tmp_path, OWN, "MHA117")
    assert "self.attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)" in site.right.decode()
    assert "return x + self.attn(x, x, x)[0]" in site.right.decode()
    assert changed(site) == ["self.attn = nn.MultiheadAttention(dim, num_heads)"]


def test_a_table_is_turned_and_cut_to_the_batch(tmp_path: Path) -> None:
    turned, laid = found(tmp_path, PATCHES, "MHA116")
    assert changed(turned) == ["x = x + self.pos_embed.transpose(0, 1)[: x.size(0)]"]
    assert changed(laid) == ["x = x + self.pos_embed[: x.size(0)]"]
    assert "torch.zeros(n, 1, d)" in laid.right.decode()
    assert "x = x + self.pos_embed[: x.size(1)].transpose(0, 1)" in laid.right.decode()


def test_entries_are_numbered_in_place_of_tokens(tmp_path: Path) -> None:
    (site,) = found(tmp_path, NUMBERED, "MHA116")
    assert changed(site) == ["x = x + self.wpe_pos(torch.arange(x.shape[0], device=x.device)).unsqueeze(1)"]
    assert not site.silent


def test_a_sum_of_which_nothing_tells_what_comes_first_is_silent_by_its_page(tmp_path: Path) -> None:
    text = PATCHES.replace("self.conv(x).flatten(2).transpose(1, 2)", "x").replace(".mean(dim=1)", "")
    text = text.replace("self.conv = nn.Conv2d(3, d, 4, 4)", "pass").replace(", batch_first=True", "")
    text = text.replace("self.attn(x, x, x)[0]", "x").replace("self.attn = nn.MultiheadAttention(d, heads)", "pass")
    assert {site.silent for site in found(tmp_path, text, "MHA116")} == {UNKNOWN_WHICH_IS_FIRST}


@pytest.mark.parametrize("rule", ["MHA116", "MHA117"])
def test_the_reasons_are_those_of_the_rules(rule: str) -> None:
    assert REASONS[rule] in ((UNKNOWN_WHICH_IS_FIRST,), (TOO_LITTLE_TELLS,))
