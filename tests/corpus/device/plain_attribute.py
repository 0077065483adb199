# run: CausalSelfAttention(32, 4, 16)(torch.randn(2, 5, 32))
# run: Additive(32, 4, 16)(torch.randn(2, 5, 32))
# run: Temperatures(32, 4)(torch.randn(2, 5, 32))
# run: FusedWithMask(32, 4, 16)(torch.randn(2, 5, 32))
"""Masks and scales that the constructor keeps as plain attributes."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, block_size):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # the past, and oneself
        self.bias = torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size)  # expect: MHA110

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.qkv(x).split(C, dim=2)
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * k.size(-1) ** -0.5
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Additive(nn.Module):
    def __init__(self, dim, heads, size):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.future = torch.triu(torch.full((size, size), float("-inf")), diagonal=1)  # expect: MHA110

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        t = x.shape[1]
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = torch.matmul(q, k.mT) * q.shape[-1] ** -0.5
        scores += self.future[:t, :t]
        return self.o(torch.matmul(scores.softmax(dim=-1), v).transpose(1, 2).flatten(2))


class Temperatures(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.temperature: torch.Tensor = torch.ones(heads, 1, 1)  # expect: MHA110

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.mT * q.shape[-1] ** -0.5
        weights = (scores * self.temperature).softmax(dim=-1)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class FusedWithMask(nn.Module):
    def __init__(self, dim, heads, size):
        super().__init__()
        self.heads = heads
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mask = torch.ones(size, size, dtype=torch.bool).tril()  # expect: MHA110

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:t, :t])  # noqa: MHA203
        return self.o(y.transpose(1, 2).flatten(2))
