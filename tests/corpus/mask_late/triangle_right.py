# run: Again(32, 4)(torch.randn(2, 5, 32))
# run: Both(32, 4)(torch.randn(2, 5, 32))
"""Triangles of weights that are normalised again, or of scores that were masked."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.drop = nn.Dropout(0.1)

    def scored(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        return q @ k.mT * k.size(-1) ** -0.5, v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Again(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(dim=-1).tril()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return self.merge(weights @ v)


class Both(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        weights = F.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
        return self.merge(weights.tril() @ v)
