# run: CrossCovarianceAttention(24, 4)(torch.randn(2, 5, 24))
# run: FoldedHeads(24, 4)(torch.randn(2, 5, 24))
"""Permuted tensors whose merged dims are neighbours in memory all the same."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class CrossCovarianceAttention(nn.Module):
    def __init__(self, dim, num_heads=8):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).split(C, dim=-1)
        q = F.normalize(q.reshape(B, N, self.num_heads, -1).permute(0, 2, 3, 1), dim=-1)
        k = F.normalize(k.reshape(B, N, self.num_heads, -1).permute(0, 2, 3, 1), dim=-1)
        v = v.reshape(B, N, self.num_heads, -1).permute(0, 2, 3, 1)
        attn = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)  # over channels
        x = (attn @ v).permute(0, 3, 1, 2).view(B, N, C)  # b h d n -> b n (h d)
        return self.proj(x)


class FoldedHeads(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q = self.q(x).view(b, t, self.heads, d).transpose(1, 2).contiguous()
        k = self.k(x).view(b, t, self.heads, d).transpose(1, 2).contiguous()
        k_t = k.mT.view(b * self.heads, d, t)  # batch and heads are still neighbours
        w = torch.bmm(q.view(b * self.heads, t, d), k_t / d**0.5).softmax(-1)
        y = torch.bmm(w, q.view(b * self.heads, t, d))
        return self.o(y.view(b, self.heads, t, d).transpose(1, 2).flatten(2))
