# run: LinearAttention(24, 4)(torch.randn(2, 6, 24))
"""Attention with a positive feature map in place of the softmax: linear in the length."""
import torch
from torch import nn
import torch.nn.functional as F


class LinearAttention(nn.Module):
    def __init__(self, dim, heads=4, eps=1e-6):
        super().__init__()
        self.heads = heads
        self.eps = eps
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        n, length, width = x.shape
        d = width // self.heads
        q = F.elu(self.query(x).view(n, length, self.heads, d).transpose(1, 2)) + 1
        k = F.elu(self.key(x).view(n, length, self.heads, d).transpose(1, 2)) + 1
        v = self.value(x).view(n, length, self.heads, d).transpose(1, 2)

        kv = torch.matmul(k.transpose(-1, -2), v)  # n, heads, d, d
        z = 1 / (torch.matmul(q, k.sum(dim=2).unsqueeze(-1)) + self.eps)
        y = torch.matmul(q, kv) * z
        y = torch.transpose(y, dim0=1, dim1=2)
        return self.out(y.view(n, length, width))  # expect: MHA001
