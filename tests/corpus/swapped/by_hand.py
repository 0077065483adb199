# run: ByHand(32, 4)(torch.randn(2, 7, 32))
# run: Matmul(32, 4)(torch.randn(2, 7, 32))
# run: Nested(32, 4)(torch.randn(2, 7, 32))
# run: BothWays(32, 4)(torch.randn(2, 7, 32))
# run: Returned(32, 4)(torch.randn(2, 7, 32))[0]
# fix: unsafe
"""Scores of heads with heads, written by hand."""

import torch
import torch.nn as nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.qkv = nn.Linear(dim, 3 * dim)


class ByHand(Base):
    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1)
        k = self.k(x).view(b, t, self.heads, -1)
        v = self.v(x).view(b, t, self.heads, -1)
        w = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(dim=-1)  # expect: MHA115
        return self.out((w @ v).reshape(b, t, c))


class Matmul(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).unbind(2)
        s = torch.matmul(q, k.transpose(-1, -2)) / (c // self.heads) ** 0.5  # expect: MHA115
        return self.out(torch.matmul(s.softmax(-1), v).flatten(2))


class Nested(Base):
    """All in one expression, and a factor in parentheses."""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).unbind(2)
        y = ((q * (c // self.heads) ** -0.5) @ k.mT).softmax(-1) @ v  # expect: MHA115
        return self.out(y.reshape(b, t, c))


class BothWays(Base):
    """By hand, or by the kernel: both are wrong alike."""

    def forward(self, x, fused=False):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).unbind(2)
        if fused:
            y = nn.functional.scaled_dot_product_attention(q, k, v)  # expect: MHA115
        else:
            s = q @ k.transpose(-2, -1)  # expect: MHA115
            y = (s * (c // self.heads) ** -0.5).softmax(-1) @ v
        return self.out(y.reshape(b, t, c))


class Returned(Base):
    """The map is returned, too: it was one of heads with heads."""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).unbind(2)
        w = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)  # expect: MHA115
        return self.out((w @ v).flatten(2)), w
