# not run: what it imports is made up
"""Rotations of other files: which of their results is which, and whether they split heads, is not told by their names."""
import torch
from rotations import apply_properties, apply_rotary_pos_emb
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def attend(self, q, k, v):
        weights = torch.einsum("bhid,bhjd->bhij", q, k).mul(self.d**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Named(Base):
    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q, k, v = (each(x).view(b, t, self.heads, self.d) for each in (self.q, self.k, self.v))
        q, k = apply_rotary_pos_emb(q, k=k, cos=cos, sin=sin)
        return self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))


class Cached(Base):
    def forward(self, x, cache, cos, sin):
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, self.d)
        k, v = cache.update(x)
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        return self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))


class Splitting(Base):
    def forward(self, x, rope):
        b, t, _ = x.shape
        q, k = apply_rotary_pos_emb(self.q(x), self.k(x), self.heads, rope)  # (b, h, t, d)
        v = self.v(x).view(b, t, self.heads, self.d).transpose(1, 2)
        q, k, v = (each.reshape(b * self.heads, t, self.d) for each in (q, k, v))
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).mul(self.d**-0.5).softmax(-1), v)
        return self.out(y.view(b, self.heads, t, self.d).transpose(1, 2).flatten(2))


class Other(Base):
    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (apply_properties(each(x)) for each in (self.q, self.k, self.v))
        q, k, v = (each.reshape(b, self.heads, t, self.d) for each in (q, k, v))
        return self.attend(q, k, v)
