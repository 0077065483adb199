# run: Letters(32, 4)(torch.randn(2, 7, 32))
# fix: unsafe
"""Scores of heads with heads by einsum."""

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
