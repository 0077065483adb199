# run: Triangle(32, 4)(torch.randn(2, 5, 32))
# run: OnTop(32, 4)(torch.randn(2, 5, 32))
# run: Added(32, 4)(torch.randn(2, 5, 32))
# run: Offset(32, 4)(torch.randn(2, 5, 32))
# run: Lowest(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Linear(32, 4)(torch.randn(2, 5, 32))
"""Triangles and small numbers that mask nothing on purpose, or are not alone."""
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


class Triangle(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.triu(torch.full_like(scores, float("-inf")), diagonal=1)
        return self.merge(F.softmax(torch.tril(scores) + future, dim=-1) @ v)


class OnTop(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        scores = scores.tril()
        scores = scores.masked_fill(scores == 0, float("-inf"))
        return self.merge(F.softmax(scores, dim=-1) @ v)


class Added(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        bias = torch.zeros(t, t, device=x.device).masked_fill(future, -1e4)
        return self.merge(F.softmax(scores + bias, dim=-1) @ v)


class Offset(Base):
    """The same small number everywhere is no mask."""

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge(F.softmax(scores + torch.full_like(scores, 1e-6), dim=-1) @ v)


class Lowest(Base):
    def forward(self, x, mask):
        scores, v = self.scored(x)
        lowest = torch.finfo(scores.dtype).min
        return self.merge(F.softmax(scores.masked_fill(mask == 0, lowest), dim=-1) @ v)


class Linear(Base):
    """Without a softmax, 0 is what masks."""

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge(scores.tril() @ v)
