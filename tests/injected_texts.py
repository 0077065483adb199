"""Texts with attention, and the mistakes that the injection benchmark writes into them."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from typing import Any

from tests.bench.injection.sites import Site, sites_of

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


EINOPS = """class Attention(nn.Module):
    def forward(self, x):
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), qkv)
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        out = weights @ v
        return rearrange(out, "b h n d -> b n (h d)")
"""


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
