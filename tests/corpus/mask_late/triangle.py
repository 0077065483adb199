# run: Method(32, 4)(torch.randn(2, 5, 32))
# run: Function(32, 4)(torch.randn(2, 5, 32))
# fix: none (where the mask belongs is for a reader to say)
"""Weights of which a triangle is kept."""
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


class Method(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(dim=-1).tril()  # expect: MHA107
        return self.merge(self.drop(weights) @ v)


class Function(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = F.softmax(scores, dim=-1)
        weights = torch.tril(weights)  # expect: MHA107
        return self.merge(torch.matmul(weights, v))
