# fix: unsafe
# run: Spatial(24, 4)(torch.randn(2, 5, 24))
# run: Spatial(24, 4, position=nn.Identity(), keep=True)(torch.randn(2, 5, 24))
"""On one path nothing is known of the queries: what is done last is the same on both."""
import torch
from torch import nn


class Spatial(nn.Module):  # expect: MHA003
    def __init__(self, dim, heads, position=None, keep=False):
        super().__init__()
        self.heads, self.position, self.keep = heads, position, keep
        self.scale = (dim // heads) ** -0.5
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if self.position is not None:
            q = self.position(q)
            v = self.position(v)
        weights = (q * self.scale @ k.mT).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, n, c)
        return y, weights if self.keep else None
