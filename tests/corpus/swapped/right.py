# run: Right(32, 4)(torch.randn(2, 7, 32))
# run: Einsum(32, 4)(torch.randn(2, 7, 32))
# run: ChannelAttention(32, 4)(torch.randn(2, 7, 32))
# run: XCA(32, 4)(torch.randn(2, 7, 32))
# run: HeadAttention(32, 4)(torch.randn(2, 7, 32))
# run: Folded(32, 4)(torch.randn(2, 7, 32))
# run: Linear(32, 4)(torch.randn(2, 7, 32))
# run: SeqFirst(32, 4)(torch.randn(7, 2, 32))
# run: Window(32, 4, 3)(torch.randn(2, 6, 32))
"""Attention over tokens in other layouts, and attention over channels or heads that is meant."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.qkv = nn.Linear(dim, 3 * dim)


class Right(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class Einsum(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        w = (torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out(torch.einsum("bhts,bshd->bthd", w, v).flatten(2))


class ChannelAttention(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        w = (q.transpose(-1, -2) @ k).softmax(-1)
        y = (w @ v.transpose(-1, -2)).transpose(-1, -2)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class XCA(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 3, 2, 4, 1).unbind(2)
        w = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1)
        return self.out((w @ v).permute(0, 3, 1, 2).reshape(b, t, c))


class HeadAttention(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        w = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out((w @ v).reshape(b, t, c))


class Folded(Base):
    def forward(self, x):
        t, b, c = x.shape
        q, k, v = (
            each.reshape(t, b * self.heads, c // self.heads).transpose(0, 1) for each in self.qkv(x).chunk(3, -1)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(t, b, c))


class Linear(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        q, k = q.softmax(-1), k.softmax(-2)
        y = q @ (k.transpose(-2, -1) @ v)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class SeqFirst(Base):
    def forward(self, x):
        t, b, c = x.shape
        q, k, v = (
            each.view(t, b, self.heads, c // self.heads).permute(1, 2, 0, 3) for each in self.qkv(x).chunk(3, -1)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).reshape(t, b, c))


class Window(nn.Module):
    def __init__(self, dim, heads, w):
        super().__init__()
        self.heads, self.w = heads, w
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        x = x.view(b, n // self.w, self.w, c)
        q, k, v = rearrange(self.qkv(x), "b n w (qkv h d) -> b n h w qkv d", qkv=3, h=self.heads).unbind(4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(rearrange(y, "b n h w d -> b (n w) (h d)"))


def attend(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def unknown(q, k, v):
    b, t, h, d = q.shape
    return F.scaled_dot_product_attention(q, k, v).reshape(b, t, h * d)
