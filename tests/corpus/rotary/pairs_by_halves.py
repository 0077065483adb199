# run: [cls(32, 4)(torch.randn(2, 5, 32)) for cls in (Buffers, Late, Handed)]
# fix: unsafe
"""The angles stand side by side in pairs, and vectors are rotated by halves."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, self.heads, 3 * self.d).transpose(1, 2).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(self.rotate(q, t), self.rotate(k, t), v)
        return self.out(y.transpose(1, 2).flatten(2))


class Buffers(Attention):
    def __init__(self, width, heads, longest=64):
        super().__init__(width, heads)
        rates = 10000 ** (-torch.arange(0, self.d, 2) / self.d)
        angles = torch.outer(torch.arange(longest).float(), rates).repeat_interleave(2, dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotate(self, x, t):
        return x * self.cos[:t] + self.turned(x) * self.sin[:t]

    def turned(self, x):
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((-x2, x1), dim=-1)  # expect: MHA119


class Late(Attention):
    """The table is built in each call, and cosines and sines are laid out one by one."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.register_buffer("inv_freq", 1.0 / (10000.0 ** (torch.arange(0, self.d, 2).float() / self.d)))

    def rotate(self, x, t):
        angles = torch.einsum("i,j->ij", torch.arange(t, device=x.device).float(), self.inv_freq)
        cos, sin = (torch.repeat_interleave(turn, 2, dim=-1) for turn in (angles.cos(), angles.sin()))
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)  # expect: MHA119
        y = x * cos
        y += turned * sin
        return y


class Handed(Attention):
    """One method makes the table, another rotates."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.rates = nn.Buffer(torch.exp(torch.arange(0, self.d, 2).float() * (-math.log(10000.0) / self.d)))

    def table(self, t):
        angles = torch.arange(t, device=self.rates.device).float()[:, None] * self.rates
        angles = torch.stack((angles, angles), dim=-1).flatten(-2)
        return angles.cos(), angles.sin()

    def rotate(self, x, t):
        cos, sin = self.table(t)
        one, two = x.unflatten(-1, (2, -1)).unbind(-2)
        return torch.stack((-two, one), -2).flatten(-2) * sin + x * cos  # expect: MHA119
