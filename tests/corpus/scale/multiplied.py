# run: Attention(64, 4)(torch.randn(2, 5, 64))
# fix: unsafe
import math

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.d_k = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def split(self, x):
        return x.unflatten(-1, (self.heads, self.d_k)).transpose(1, 2)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k)
        scores *= math.sqrt(self.d_k)  # expect: MHA104
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
