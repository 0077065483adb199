# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: LearnedAsWell(32, 4)(torch.randn(2, 5, 32))
# run: LearnedAsWell(32, 4, learned=False)(torch.randn(2, 5, 32))
# run: Flattened(16, 2)(torch.randn(2, 16, 4, 3))
# run: SeveralWidths(24, (1, 2))(torch.randn(2, 5, 24))
"""Scales that are applied in place, that go with a learned one, or that leave it open what a head's width is."""
import math

import torch
from torch import nn
import torch.nn.functional as F


class InPlace(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.scale = 1 / self.width**0.5
        self.q, self.kv, self.o = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        k, v = torch.chunk(self.kv(x), 2, -1)
        q = self.q(x).view(b, t, self.heads, self.width)
        k, v = k.view(b, t, self.heads, self.width), v.view(b, t, self.heads, self.width)
        scores = torch.einsum("bihd,bjhd->bhij", q, k)
        scores.mul_(self.scale)
        out = torch.einsum("bhij,bjhd->bihd", F.softmax(scores, dim=-1), v)
        return self.o(out.reshape(b, t, c))


class PerDimension(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return x * 1.442695041 / math.sqrt(self.width) * F.softplus(self.gain)


class LearnedAsWell(nn.Module):
    def __init__(self, dim, heads, learned=True):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.per_dimension = PerDimension(self.width) if learned else None
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, self.width).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        if self.per_dimension is not None:
            q = self.per_dimension(q)
        y = F.scaled_dot_product_attention(q, k, v, scale=math.sqrt(self.width))
        return self.o(y.transpose(1, 2).reshape(b, t, c))


class Flattened(nn.Module):
    """One head, over the pixels of an image; its keys are fewer channels than it is scaled by."""

    def __init__(self, channels, ratio):
        super().__init__()
        self.scale = channels**-0.5
        self.q, self.k = nn.Conv2d(channels, channels // ratio, 1), nn.Conv2d(channels, channels // ratio, 1)
        self.v = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.q(x).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        weights = F.softmax(torch.bmm(q.transpose(1, 2), k) * self.scale, dim=2)
        return x + torch.bmm(v, weights.transpose(1, 2)).view(b, c, h, w)


class OfAnyHeads(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64):
        super().__init__()
        inner = heads * dim_head
        self.heads, self.scale = heads, dim_head**-0.5
        self.qkv = nn.Linear(dim, 3 * inner)
        self.o = nn.Linear(inner, dim) if not (heads == 1 and dim_head == dim) else nn.Identity()

    def forward(self, x):
        b, n, _, h = *x.shape, self.heads
        q, k, v = (y.reshape(b, n, h, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        weights = (torch.einsum("b h i d, b h j d -> b h i j", q, k) * self.scale).softmax(-1)
        return self.o(torch.einsum("b h i j, b h j d -> b h i d", weights, v).transpose(1, 2).reshape(b, n, -1))


class SeveralWidths(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.layers = nn.ModuleList(OfAnyHeads(dim, heads=each, dim_head=dim) for each in heads)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x
