# fix: unsafe
# run: Tiled(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5))
# run: Stacked(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5))
# run: Memory(16, 4)(torch.randn(3, 5, 16), torch.randn(3, 7, 4))
"""Masks, and a memory, that are expanded or joined for the heads in the wrong order."""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.head_width).transpose(1, 2).reshape(b * self.heads, t, self.head_width)

    def merge(self, y, b):
        t = y.shape[1]
        return self.out(y.view(b, self.heads, t, self.head_width).transpose(1, 2).reshape(b, t, -1))


class Tiled(Attention):
    def forward(self, x, bias):
        b, t, _ = x.size()
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        bias = bias.view(b, t, t).unsqueeze(0).expand(self.heads, b, t, t)  # expect: MHA118
        bias = bias.reshape(b * self.heads, t, t)
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.head_width**-0.5)
        return self.merge(scores.softmax(dim=-1) @ v, b)


class Stacked(Attention):
    def forward(self, x, bias):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.transpose(-2, -1) * self.head_width**-0.5
        bias = bias.expand(-1, x.shape[1], -1)
        scores += torch.cat([bias] * self.heads, dim=0)  # expect: MHA118
        return self.merge(scores.softmax(dim=-1) @ v, x.shape[0])


class Memory(Attention):
    """Keys and values of each entry that all heads share."""

    def forward(self, x, memory):
        b, t, _ = x.shape
        q = self.split(self.q(x))
        memory = torch.cat([memory.expand(-1, -1, self.head_width)] * self.heads)  # expect: MHA118
        scores = torch.bmm(q, memory.transpose(1, 2)) * self.head_width**-0.5
        return self.merge(torch.bmm(scores.softmax(-1), memory), b)
