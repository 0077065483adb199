# run: Attention(32, 4)(torch.randn(2, 5, 32))
# fix: none (the function has no mode to ask for)
"""A function of the file is handed the rate of the class."""
import torch
import torch.nn as nn
import torch.nn.functional as F


def fused(q, k, v, mask=None, drop=0.0):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)  # expect: MHA103


class Attention(nn.Module):
    def __init__(self, dim, heads, drop=0.1):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        return self.out(fused(q, k, v, drop=self.drop).transpose(1, 2).reshape(b, t, c))
