"""Attention that computes the wrong thing and runs all the same, with the lines that put it right."""

from __future__ import annotations

# Dropout of the weights in eval mode.
DROPPING = """
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4, dropout: float = 0.0):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
"""
UNGATED = "dropout_p=self.dropout"
GATED = "dropout_p=self.dropout if self.training else 0.0"

# Dropout in eval mode twice.
DROPPING_TWICE = DROPPING.replace(
    "return self.proj(y.transpose(1, 2).reshape(b, t, c))",
    "y = self.proj(y.transpose(1, 2).reshape(b, t, c))\n        return F.dropout(y, self.dropout)",
)

# Heads put together without their transpose: tokens are mixed.
MERGED = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 4):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            layer(x).view(b, t, self.num_heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-2, -1) * self.scale
        y = torch.softmax(scores, dim=-1) @ v
        y = y.reshape(b, t, c)
        return self.proj(y)
"""
WITHOUT_TRANSPOSE = "y.reshape(b, t, c)"
WITH_TRANSPOSE = "y.transpose(1, 2).reshape(b, t, c)"

# The same, causal where the constructor says so.
SWITCHED = (
    MERGED.replace("num_heads: int = 4", "num_heads: int = 4, causal: bool = False")
    .replace("        self.query", "        self.causal = causal\n        self.query")
    .replace(
        "        y = torch.softmax",
        """        if self.causal:
            scores = scores + scores.new_full((t, t), float("-inf")).triu(1)
        y = torch.softmax""",
    )
)

# A mask of what comes later, where scaled_dot_product_attention wants what may be seen.
INVERTED = """
import torch
from torch import nn
from torch.nn import functional as F


class CausalAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.n_head, c // self.n_head).permute(2, 0, 3, 1, 4)
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
"""

# A mask value that masks nothing, and one that float16 does not have.
MASKED = """
import torch
from torch import nn


class CausalAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int, block_size: int = 64):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)
        self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.n_head, c // self.n_head).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (c // self.n_head) ** -0.5
        scores = scores.masked_fill(self.mask[:t, :t] == 0, VALUE)
        y = scores.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
"""
TINY = MASKED.replace("VALUE", "-1e-9")
HUGE = MASKED.replace("VALUE", "-1e9")
LEAST = "torch.finfo(scores.dtype).min"

# A mask that stays where it was made.
STRAY = MASKED.replace("VALUE", 'float("-inf")').replace(
    'self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)))',
    "self.mask = torch.tril(torch.ones(block_size, block_size))",
)
