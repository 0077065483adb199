# run: Plain(32, 4)(torch.randn(2, 7, 32))
# run: View(32, 4)(torch.randn(2, 7, 32))
# run: Unbound(32, 4)(torch.randn(2, 7, 32))
# run: Unflattened(32, 4)(torch.randn(2, 7, 32))
# run: TurnedLater(32, 4)(torch.randn(2, 7, 32))
# run: Sizes(32, 4)(torch.randn(2, 7, 32))
# fix: unsafe
"""Heads are split off, and not transposed before the tokens."""

import torch.nn as nn
import torch.nn.functional as F
from torch.nn.functional import scaled_dot_product_attention


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.qkv = nn.Linear(dim, 3 * dim)


class Plain(Base):
    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, c // self.heads)
        k = self.k(x).view(b, t, self.heads, c // self.heads)
        v = self.v(x).view(b, t, self.heads, c // self.heads)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(y.reshape(b, t, c))


class View(Base):
    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1)
        k = self.k(x).view(b, t, self.heads, -1)
        v = self.v(x).view(b, t, self.heads, -1)
        y = scaled_dot_product_attention(query=q, key=k, value=v, is_causal=True).view(b, t, c)  # expect: MHA115
        return self.out(y)


class Unbound(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(y.flatten(2))


class Unflattened(Base):
    def forward(self, x):
        q = self.q(x).unflatten(-1, (self.heads, -1))
        k = self.k(x).unflatten(-1, (self.heads, -1))
        v = self.v(x).unflatten(-1, (self.heads, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v).flatten(-2))  # expect: MHA115


class TurnedLater(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, c // 4).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Sizes(Base):
    def forward(self, x, mask=None):
        hidden = (*x.shape[:-1], -1, self.dim // self.heads)
        q, k, v = self.q(x).view(hidden), self.k(x).view(hidden), self.v(x).view(hidden)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        return self.out(y.reshape(*x.shape[:-1], -1))
