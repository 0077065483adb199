# run: ConvAttention(24, 4)(torch.randn(2, 24, 5, 3))
# run: Conv1dAttention(24, 4)(torch.randn(2, 24, 9))
"""Attention over feature maps: the 1x1 convolution is the projection."""
import torch
from torch import nn


class ConvAttention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(channels, channels * 3, 1)
        self.unify = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=1)
        q, k, v = (z.reshape(b, self.heads, c // self.heads, h * w) for z in (q, k, v))
        weights = torch.einsum("bhdi,bhdj->bhij", q, k).mul((c // self.heads) ** -0.5).softmax(-1)
        out = torch.einsum("bhij,bhdj->bhdi", weights, v).reshape(b, c, h, w)
        return self.unify(out)


class Conv1dAttention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv1d(channels, channels * 3, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        b, c, t = x.shape
        q, k, v = self.qkv(x).view(b * self.heads, 3 * c // self.heads, t).chunk(3, dim=1)
        w = torch.softmax(torch.bmm(q.transpose(1, 2), k) / (c // self.heads) ** 0.5, dim=-1)
        h = torch.bmm(v, w.transpose(1, 2)).view(b, c, t)
        return x + self.proj_out(h)
