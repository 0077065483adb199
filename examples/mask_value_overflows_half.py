"""A decoder's attention that only ever ran in float32: its mask value is too large for float16."""

import math

import torch
import torch.nn as nn


class DecoderSelfAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.num_heads, self.head_dim)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        energy = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        future = torch.triu(torch.ones(t, t, device=x.device), diagonal=1).bool()
        energy = energy.masked_fill(future, -1e10)
        weights = energy.softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, c)), weights
