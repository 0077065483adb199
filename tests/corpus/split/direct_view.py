# run: Attention(32, 4)(torch.randn(3, 5, 32))
# fix: unsafe
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, self.heads, t, self.head_dim)  # expect: MHA102
        k = self.k(x).view(b, self.heads, t, self.head_dim)  # expect: MHA102
        v = self.v(x).view(b, self.heads, t, self.head_dim)  # expect: MHA102
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
