# run: MeanQueryPool(24, num_heads=4)(torch.randn(2, 7, 24))
"""Pooling that weights the features themselves: with no projection of values there is none to be missed after them."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class MeanQueryPool(nn.Module):
    def __init__(self, dim, num_heads=1):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        normed = self.norm(x)
        q = self.q(x.mean(dim=1, keepdim=True)).reshape(B, 1, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.k(normed).reshape(B, N, self.num_heads, self.head_dim).transpose(1, 2)
        v = normed.reshape(B, N, self.num_heads, self.head_dim).transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, C)
