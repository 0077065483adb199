"""Sources that several tests lint."""

from __future__ import annotations

# `.view` of a transposed tensor: raises, one safe fix. The weights are returned, so that no fused kernel would do.
BROKEN = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)
        y = (weights @ v).transpose(1, 2).view(b, t, c)
        return self.out_proj(y), weights
"""
FIXED = BROKEN.replace(".transpose(1, 2).view(", ".transpose(1, 2).contiguous().view(")
CLEAN = FIXED
SYNTAX_ERROR = "import torch\n\nx.view(\n"
ROW = 1 + BROKEN[: BROKEN.index("y = (weights")].count("\n")
