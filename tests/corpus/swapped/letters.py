# run: Letters(32, 4)(torch.randn(2, 7, 32))
# run: Image(32, 4)(torch.randn(2, 3, 5, 32))
# fix: none (the products are written by hand)
"""Scores of heads with heads by einsum, and of the rows and columns of an image."""

import torch
import torch.nn as nn
from einops import rearrange


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)


class Letters(Base):
    def forward(self, x):
        q, k, v = (rearrange(each, "b n (h d) -> b n h d", h=self.heads) for each in self.qkv(x).chunk(3, dim=-1))
        s = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5  # expect: MHA115
        y = torch.einsum("bhij,bhjd->bhid", s.softmax(-1), v)
        return self.out(rearrange(y, "b n h d -> b n (h d)"))


class Image(Base):
    def forward(self, x):
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads).unbind(2)
        s = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5  # expect: MHA115
        return self.out((s.softmax(-1) @ v).reshape(b, h, w, c))
