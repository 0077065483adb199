"""Masks that stay behind when the module moves: MHA110.

On the CPU all of this runs. After `.to("cuda")` the first call of each raises "Expected all tensors to be on the same
device".
"""

import torch
import torch.nn as nn


class CausalSelfAttention(nn.Module):
    """The mask is kept as a plain attribute: neither `.to` nor `.cuda` knows of it."""

    def __init__(self, embed_dim: int, heads: int, longest: int = 64):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.past = torch.tril(torch.ones(longest, longest, dtype=torch.bool))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        scores = scores.masked_fill(~self.past[:t, :t], float("-inf"))
        weights = scores.softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c)), weights


class DecoderAttention(nn.Module):
    """The mask is made in each call, on the default device."""

    def __init__(self, embed_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        future = torch.full((t, t), float("-inf")).triu(1)
        weights = (scores + future).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c)), weights
