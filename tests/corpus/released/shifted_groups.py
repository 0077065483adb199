# run: Attention(12, 4, 0.5)(torch.randn(2, 8, 12))
"""A sequence is cut into groups, whose length is a part of its own; half of the heads are shifted by half a group."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, part):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.head_width, self.part = heads, width // heads, part

    def grouped(self, x, size, count):
        b, t, h, d = x.shape
        first, second = x[:, :, : self.heads // 2], x[:, :, self.heads // 2 :]
        x = torch.cat((first, second.roll(-size // 2, dims=1)), dim=2)
        return x.reshape(b * count, size, self.heads, self.head_width).transpose(1, 2)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (each.view(b, t, self.heads, self.head_width) for each in self.qkv(x).chunk(3, dim=-1))
        size = int(t * self.part)
        count = t // size
        q, k, v = (self.grouped(each, size, count) for each in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))
