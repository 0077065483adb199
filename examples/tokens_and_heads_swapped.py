"""Attention of stereo features, whose heads stand where PyTorch's attention takes the tokens to be."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class DisparityAttention(nn.Module):
    """Disparities look at each other: (b, t, c) in, (b, t, c) out. They never meet."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q = self.query(x).view(b, t, self.num_heads, self.head_dim)
        k = self.key(x).view(b, t, self.num_heads, self.head_dim)
        v = self.value(x).view(b, t, self.num_heads, self.head_dim)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.reshape(b, t, -1))


class WindowAttention(nn.Module):
    """Beside it, the same with its transposes: nothing is wrong with it."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q = self.query(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.key(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.value(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(y.reshape(b, t, -1))
