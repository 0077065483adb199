# run: Image(32, 4)(torch.randn(2, 3, 5, 32))
# not exercised: the probe can't tell which dimensions of an image are its tokens
# fix: unsafe
"""Scores of heads with heads, of the rows and columns of an image."""

import torch.nn as nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)


class Image(Base):
    def forward(self, x):
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads).unbind(2)
        s = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5  # expect: MHA115
        return self.out((s.softmax(-1) @ v).reshape(b, h, w, c))
