"""Mistakes of order that the bench writes: to which rule they belong, and about which ones it is silent by its page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injection.silence import ONE_CHANGES_NOTHING, ONE_IS_BROADCAST, SHAPE_UNKNOWN
from tests.bench.injection.sites import Site, sites_of

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n\n"

HEADS = """class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x):
        B, H, W, C = x.shape
        qkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return x.transpose(1, 2).reshape(B, H, W, C)
"""

MAPS = """class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.norm(x.flatten(2).transpose(1, 2))
        y = F.scaled_dot_product_attention(q, q, q)
        return y.transpose(1, 2).reshape(b, c, h, w)
"""

CLASS_TOKEN = """class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q = self.q(x[:, 0:1, ...]).reshape(b, 1, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3)
        k = self.k(x).reshape(b, n, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3)
        attn = q @ k.transpose(-2, -1)
        attn = attn.softmax(dim=-1)
        return (attn @ k).transpose(1, 2).reshape(b, 1, c)
"""

HANDED = """class Attention(nn.Module):
    def forward(self, query, key, value, token_mask):
        b, t = token_mask.shape
        query = query * token_mask.view(b, t, 1, 1)
        return F.scaled_dot_product_attention(query, key, value)
"""


def sites(folder: Path, text: str, rule: str) -> list[Site]:
    path = folder / "attention.py"
    path.write_text(HEAD + text, "utf-8")
    return sites_of(path, frozenset({rule}))


def test_heads_that_are_merged_to_an_image_are_a_mistake_of_the_rule_on_heads(tmp_path: Path) -> None:
    found = [site for site in sites(tmp_path, HEADS, "MHA101") if site.injection.form == "merged to an image"]
    assert len(found) == 1 and "        return x.reshape(B, H, W, C)\n" in found[0].wrong.decode()
    assert not sites(tmp_path, HEADS, "MHA121")


@pytest.mark.parametrize(("width", "silent"), [("dim", ""), ("1", ONE_CHANGES_NOTHING)])
def test_a_single_feature_is_in_order_wherever_it_stands(tmp_path: Path, width: str, silent: str) -> None:
    found = sites(tmp_path, MAPS.replace("LayerNorm(dim)", f"LayerNorm({width})"), "MHA121")
    assert {site.injection.form: site.silent for site in found} == {
        "image to tokens": silent,
        "tokens to image": silent,
    }


def test_one_query_is_broadcast_over_the_entries(tmp_path: Path) -> None:
    assert {site.silent for site in sites(tmp_path, CLASS_TOKEN, "MHA124")} == {ONE_IS_BROADCAST}
    right = (
        CLASS_TOKEN.replace("x[:, 0:1, ...]", "x")
        .replace("(b, 1, self", "(b, n, self")
        .replace("(b, 1, c)", "(b, n, c)")
    )
    assert {site.silent for site in sites(tmp_path, right, "MHA124")} == {""}


def test_a_mask_of_four_dims_does_not_tell_how_many_the_queries_have(tmp_path: Path) -> None:
    assert {site.silent for site in sites(tmp_path, HANDED, "MHA124")} == {SHAPE_UNKNOWN}
