# run: Rotated(32, 4)(torch.randn(2, 5, 32))
# run: WithSinks(32, 4)(torch.randn(2, 5, 32))
# run: Cells(16, 4)(torch.randn(2, 16, 4, 3))
# fix: unsafe
"""Scales of queries that are rotated in part, of scores with a sink beside them, of maps that are convolutions."""
import torch
from torch import nn


def rotated(x):
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack((-second, first), dim=-1).flatten(-2)


class Rotated(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.turned = self.width // 2
        self.scale = dim**-0.5
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def turn(self, x, cos, sin):
        turned, kept = x[..., : self.turned], x[..., self.turned :]
        return torch.cat([turned * cos + rotated(turned) * sin, kept], dim=-1)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, self.heads, self.width).transpose(1, 2) for f in (self.q, self.k, self.v))
        angles = torch.arange(t, device=x.device, dtype=x.dtype)[:, None].expand(t, self.turned)
        cos, sin = angles.cos(), angles.sin()
        q, k = self.turn(q, cos, sin), self.turn(k, cos, sin)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)  # expect: MHA104
        return self.o((weights @ v).transpose(1, 2).reshape(b, t, c))


class WithSinks(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, heads**-0.5
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).clamp(-8, 8).chunk(3, dim=-1))
        scores = torch.einsum("... i d, ... j d -> ... i j", q, k) * self.scale  # expect: MHA104
        weights = (scores - scores.amax(dim=-1, keepdim=True).detach()).softmax(-1)
        return self.o(torch.einsum("... i j, ... j d -> ... i d", weights, v).transpose(1, 2).reshape(b, t, c))


class Cells(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.scale = self.width**0.5
        self.qkv, self.o = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (y.reshape(b, self.heads, self.width, h * w) for y in self.qkv(x).chunk(3, dim=1))
        weights = (q.transpose(-2, -1) @ k * self.scale).softmax(-1)  # expect: MHA104
        return self.o((v @ weights.transpose(-2, -1)).reshape(b, c, h, w))
