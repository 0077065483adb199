# fix: none (the packed tensor is split and permuted in one einops string)
# run: Attention(24, heads=3, dim_head=8)(torch.randn(2, 5, 24))
import torch
from torch import nn
from einops import rearrange


class Attention(nn.Module):
    def __init__(self, dim, heads = 8, dim_head = 64, dropout = 0.):
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.scale = dim_head ** -0.5
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias = False)
        self.to_out = nn.Sequential(
            nn.Linear(inner_dim, dim),
            nn.Dropout(dropout)
        )

    def forward(self, x):
        x = self.norm(x)
        qkv = rearrange(self.to_qkv(x), 'b n (three h d) -> three b h n d', three = 3, h = self.heads)
        q, k, v = qkv.unbind(0)  # expect: MHA002
        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale
        out = torch.matmul(dots.softmax(dim = -1), v)
        out = rearrange(out, 'b h n d -> b n (h d)')
        return self.to_out(out)
