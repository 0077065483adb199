# run: Attention(12, 3)(torch.randn(2, 5, 12))
"""Queries and keys may be normalised: their scores are small, and scaled up."""

import math

import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, norm=True):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.heads, self.head_width, self.out = heads, width // heads, nn.Linear(width, width)
        self.norm = nn.RMSNorm(self.head_width) if norm else None

    def forward(self, x):
        b, t, _ = x.shape
        q = self.query(x).view(b, t, self.heads, self.head_width)
        k = self.key(x).view(b, t, self.heads, self.head_width)
        v = self.value(x).view(b, t, self.heads, self.head_width)
        if self.norm is not None:
            q, k = self.norm(q), self.norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, scale=math.sqrt(self.head_width))
        return self.out(y.transpose(1, 2).flatten(2))
