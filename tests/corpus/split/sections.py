# run: Fused(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Projections that are cut out of a packed one, behind a norm that the class was given."""
import torch
import torch.nn.functional as F
from torch import nn


class Fused(nn.Module):
    def __init__(self, dim, heads, hidden=64, norm_layer=nn.LayerNorm):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.sections = [hidden] + [dim] * 3
        self.in_norm = norm_layer(dim)
        self.in_proj = nn.Linear(dim, hidden + 3 * dim)
        self.out_proj = nn.Linear(dim + hidden, dim)

    def forward(self, x):
        b, t, c = x.shape
        y = self.in_proj(self.in_norm(x))
        hidden, q, k, v = torch.split(y, self.sections, dim=-1)
        q = q.view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = k.view(b, t, self.heads, self.head_dim).transpose(1, 2)
        v = v.reshape(b, self.heads, t, self.head_dim)  # expect: MHA102
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
        return self.out_proj(torch.cat([y, F.gelu(hidden)], dim=-1))
