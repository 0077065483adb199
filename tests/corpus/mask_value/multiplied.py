# run: Multiplied(32, 4)(torch.randn(2, 5, 32))
# run: Unnamed(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# fix: none (what masks is not a fill, or the scores have no name)
"""Scores that are multiplied by a mask, and scores that are filled before they have a name."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)


class Multiplied(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        past = torch.tril(torch.ones(scores.shape[-2:], device=x.device))
        scores = scores * past  # expect: MHA111
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Unnamed(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(mask == 0, -1e-9).softmax(dim=-1)  # expect: MHA111
        return self.out((weights @ v).transpose(1, 2).flatten(2))
