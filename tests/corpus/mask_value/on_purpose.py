# run: Huge(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: MaskedTwice(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 1, 1, 5))
# run: NoNaN(32, 4)(torch.randn(2, 5, 32))
# run: BiasOfPairs(32, 4)(torch.randn(2, 5, 32), torch.zeros(5, 5))
# run: Retention(32, 4)(torch.randn(2, 5, 32))
# run: OldStyle(32, 4)(torch.randn(2, 5, 32))
# run: similarities(torch.randn(5, 8))
"""Fills and products that mask, or that are not meant to."""
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

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Huge(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        return self.merge(scores.softmax(dim=-1) @ v)


class MaskedTwice(Base):
    """Keys of no length are put at 0, and left out by the additive mask behind."""

    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        empty = k.abs().sum(-1) == 0
        scores = scores.masked_fill(empty[:, :, None, :], 0.0) + mask
        return self.merge(scores.softmax(dim=-1) @ v)


class NoNaN(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(torch.isnan(scores), 0.0)
        return self.merge(scores.softmax(dim=-1) @ v)


class BiasOfPairs(Base):
    """The bias is filled, not the scores."""

    def forward(self, x, bias):
        q, k, v = self.split(x)
        bias = bias.masked_fill(torch.eye(x.shape[1], dtype=torch.bool, device=x.device), 0.0)
        scores = q @ k.mT * q.shape[-1] ** -0.5 + bias
        return self.merge(scores.softmax(dim=-1) @ v)


class Retention(Base):
    """No softmax: a product with 0 masks."""

    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores * torch.tril(torch.ones(scores.shape[-2:], device=x.device))
        return self.merge(scores @ v)


class OldStyle(Base):
    """The product is made good by what is subtracted."""

    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        past = torch.tril(torch.ones(scores.shape[-2:], device=x.device))
        scores = scores * past - 1e4 * (1 - past)
        return self.merge(scores.softmax(dim=-1) @ v)


def similarities(x):
    """What is compared with itself is no pair; no softmax comes after."""
    pairs = x @ x.T
    return pairs.masked_fill(torch.eye(len(x), dtype=torch.bool), 0.0).sort(dim=-1)
