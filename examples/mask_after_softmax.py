"""Attention over patches, some of them masked: the mask comes behind the softmax."""

import torch
import torch.nn as nn


class PatchAttention(nn.Module):
    """``keep`` (b, n) is True for the patches that are there."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        scores = q @ k.transpose(-2, -1) * self.scale
        weights = scores.softmax(dim=-1)
        if keep is not None:
            hidden = ~keep.bool()
            weights = weights.masked_fill(hidden[:, None, None, :], 0.0)
        y = self.drop(weights) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))
