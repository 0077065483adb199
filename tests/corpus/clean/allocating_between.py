# run: NormalisedHeads(24, 4)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn


class NormalisedHeads(nn.Module):
    """Ops that write a fresh tensor stand between the transpose and the view."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.d = dim // heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.mix = nn.Linear(self.d, self.d)
        self.head_norm = nn.LayerNorm(self.d)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, self.d).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, self.d).transpose(1, 2)
        q = self.mix(q).view(b * self.heads, t, self.d)
        scores = torch.bmm(q, k.reshape(b * self.heads, t, self.d).transpose(1, 2)) * self.d**-0.5
        w = scores.view(b, self.heads, t, t).softmax(dim=-1)
        y = self.head_norm((w @ v).transpose(1, 2))
        return self.o(y.view(b, t, c))
