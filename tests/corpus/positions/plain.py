# run: Model(16, 9)(torch.randint(0, 100, (2, 5)))
# fix: unsafe
"""The class that adds the positions leaves the order of dimensions to the layers that it holds."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.q, self.k, self.v, self.out = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.q(x), self.k(x), self.v(x)
        return self.out((q @ k.transpose(1, 2) * c**-0.5).softmax(-1) @ v)


class Model(nn.Module):
    def __init__(self, c, n):
        super().__init__()
        self.pe = nn.Parameter(torch.randn(16 + n, 1, c))
        self.embed = nn.Embedding(100, c)
        self.layers = nn.ModuleList([Attention(c) for _ in range(2)])
        self.head = nn.Linear(c, 10)

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.pe[: x.size(0)]  # expect: MHA116
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x.mean(dim=1))
