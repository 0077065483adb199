# fix: unsafe
# run: AttentionPooling(24, num_heads=4)(torch.randn(2, 7, 24))
"""Pools a sequence with one learned query per head."""
import torch
from torch import nn


class AttentionPooling(nn.Module):  # expect: MHA003
    def __init__(self, dim, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.query = nn.Parameter(torch.randn(1, num_heads, 1, self.head_dim) * 0.02)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        k = self.to_k(x).reshape(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.to_v(x).reshape(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        scores = self.query @ k.transpose(-2, -1) / self.head_dim**0.5  # (b, h, 1, n)
        pooled = scores.softmax(dim=-1) @ v  # (b, h, 1, d)
        return pooled.transpose(1, 2).reshape(b, c)
