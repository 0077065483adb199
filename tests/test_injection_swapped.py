"""The injectors of MHA115 and MHA118 leave out the moves that belong together, and tile masks of entries."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from tests.bench.injection.silence import HEADS_UNKNOWN
from tests.bench.injection.sites import Site, sites_of

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\nfrom einops import rearrange, repeat\n\n\n"

VIEWS = """class Attention(nn.Module):
    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x, mask=None):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.norm(self.split(self.k(x)))
        v = self.split(self.v(x))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = y.transpose(1, 2).reshape(b, t, c)
        return self.out(y)
"""

PACKED = """class Attention(nn.Module):
    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(b, t, c)
        return self.out(y)
"""

EINOPS = """class Attention(nn.Module):
    def forward(self, x):
        qkv = self.qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), qkv)
        scores = torch.einsum("b h i d, b h j d -> b h i j", q, k)
        y = torch.einsum("b h i j, b h j d -> b h i d", scores.softmax(dim=-1), v)
        return self.out(rearrange(y, "b h n d -> b n (h d)"))
"""

TURNED = """class Attention(nn.Module):
    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q = rotate(self.q(x).view(b, t, self.heads, -1).transpose(1, 2), cos, sin)
        k = rotate(self.k(x).view(b, t, self.heads, -1).transpose(1, 2), cos, sin)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, t, c))
"""

TOKENS_FIRST = """class Attention(nn.Module):
    def forward(self, attn, x):
        q, k, v = (x.unflatten(-1, (attn.heads, -1)) for _ in range(3))
        q = attn.norm_q(q)
        # once F.scaled_dot_product_attention
        y = dispatch_attention_fn(q, k, v)
        return y.flatten(2)
"""

FOLDED = """class Attention(nn.Module):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2).reshape(b * self.heads, t, -1) for f in self.maps)
        scores = torch.bmm(q, k.transpose(1, 2))
        weights = scores.softmax(dim=-1)
        return torch.bmm(weights, v)
"""

LAYER = """class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        y, _ = self.attend(x, x, x, need_weights=False)
        return y
"""


def _sites(tmp_path: Path, rule: str, text: str) -> list[Site]:
    path = tmp_path / "module.py"
    path.write_text(HEAD + text)
    return sites_of(path, frozenset({rule}))


def test_all_moves_of_heads_and_the_way_back_are_left_out(tmp_path: Path) -> None:
    (site,) = _sites(tmp_path, "MHA115", VIEWS)
    wrong = site.wrong.decode()
    assert "transpose" not in wrong
    assert "y = y.reshape(b, t, c)" in wrong
    assert site.injection.form == "fused, helper, views"


def test_a_packed_projection_keeps_its_tokens_before_its_heads(tmp_path: Path) -> None:
    (site,) = _sites(tmp_path, "MHA115", PACKED)
    wrong = site.wrong.decode()
    assert "permute(2, 0, 1, 3, 4)" in wrong
    assert "y = (weights @ v).reshape(b, t, c)" in wrong
    assert "k.transpose(-2, -1)" in wrong


def test_names_of_a_pattern_change_places(tmp_path: Path) -> None:
    (site,) = _sites(tmp_path, "MHA115", EINOPS)
    wrong = site.wrong.decode()
    assert "'b n (h d) -> b n h d'" in wrong
    assert "'b n h d -> b n (h d)'" in wrong


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TURNED, id="a rotary table needs the move"),
        pytest.param(VIEWS.replace("attn_mask=mask", "attn_mask=self.mask"), id="a mask that is always there"),
        pytest.param(VIEWS.replace("y = y.transpose(1, 2).reshape", "y = y.reshape"), id="no way back"),
    ],
)
def test_no_mistake_is_written_where_the_shapes_would_not_fit(tmp_path: Path, text: str) -> None:
    assert _sites(tmp_path, "MHA115", text) == []


def test_what_an_unknown_object_makes_of_the_heads_is_silent_by_page(tmp_path: Path) -> None:
    (site,) = _sites(tmp_path, "MHA115", TOKENS_FIRST)
    assert "q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)" in site.wrong.decode()
    assert site.silent == HEADS_UNKNOWN


@pytest.mark.parametrize("text", [FOLDED, LAYER])
def test_a_mask_of_entries_is_planted_right_and_tiled_wrong(tmp_path: Path, text: str) -> None:
    found = _sites(tmp_path, "MHA118", text)
    assert {site.injection.form for site in found} == {
        "planted, repeat", "planted, tile", "planted, joined", "planted, expanded", "planted, expanded, reshaped",
        "planted, einops",
    }  # fmt: skip
    for site in found:
        assert "entry_mask.repeat_interleave(" in site.right.decode()
        assert "repeat_interleave" not in site.wrong.decode()
        assert "entry_mask=None" in site.wrong.decode()


def test_scores_of_four_dimensions_have_no_room_for_it(tmp_path: Path) -> None:
    assert _sites(tmp_path, "MHA118", PACKED) == []
