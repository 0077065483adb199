# run: MultiQueryAttention(24, 4)(torch.randn(2, 24, 3, 5))
"""The projections are added to empty containers by name."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class MultiQueryAttention(nn.Module):
    def __init__(self, dim, num_heads=8):
        super().__init__()
        self.num_heads = num_heads
        self.key_dim = dim // num_heads
        self.query = nn.Conv2d(dim, dim, 1)
        self.key = nn.Conv2d(dim, self.key_dim, 1)
        self.value = nn.Conv2d(dim, self.key_dim, 1)
        self.output = nn.Sequential()
        self.output.add_module("proj", nn.Conv2d(dim, dim, 1))
        self.output.add_module("drop", nn.Dropout(0.1))

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.query(x).reshape(b, self.num_heads, self.key_dim, h * w).transpose(-1, -2)
        k = self.key(x).reshape(b, 1, self.key_dim, h * w).transpose(-1, -2)
        v = self.value(x).reshape(b, 1, self.key_dim, h * w).transpose(-1, -2)
        o = F.scaled_dot_product_attention(q, k.expand(-1, self.num_heads, -1, -1), v.expand(-1, self.num_heads, -1, -1))
        return self.output(o.transpose(-1, -2).reshape(b, c, h, w))
