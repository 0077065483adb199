# run: Triangle(32, 4)(torch.randn(2, 5, 32))
# run: Added(32, 4)(torch.randn(2, 5, 32))
# run: OfTheType(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Inverse(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 1, 1, 5))
# fix: none (what masks is no fill of the scores)
"""Scores of about 0 where they are masked, written in other ways than a fill with a literal."""
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
        scores = torch.tril(scores)  # expect: MHA111
        return self.merge(F.softmax(scores, dim=-1) @ v)


class Added(Base):
    """A mask that is added may as well hold too small a number."""

    def forward(self, x):
        scores, v = self.scored(x)
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        bias = torch.zeros(t, t, device=x.device).masked_fill(future, -1e-9)
        scores = scores + bias  # expect: MHA111
        return self.merge(F.softmax(scores, dim=-1) @ v)


class OfTheType(Base):
    """`tiny` is next to 0, `min` is the lowest."""

    def forward(self, x, mask):
        scores, v = self.scored(x)
        tiny = torch.finfo(torch.float32).tiny
        weights = F.softmax((scores * 1.0).masked_fill(mask == 0, -tiny), dim=-1)  # expect: MHA111
        return self.merge(weights @ v)


class Inverse(Base):
    def forward(self, x, mask):
        scores, v = self.scored(x)
        scores = scores * (1 - mask)  # expect: MHA111
        return self.merge(F.softmax(scores, dim=-1) @ v)
