# run: Attention(24, 3)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn


class Attention(nn.Module):
    """Copies of what a linear layer has just allocated."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).contiguous().view(b, t, self.heads, c // self.heads).transpose(1, 2)  # expect: MHA004
        k = self.k_proj(x).view(b, t, self.heads, c // self.heads).transpose(1, 2).contiguous()
        v = self.v_proj(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1).contiguous()  # expect: MHA004
        y = weights @ v
        y = y.contiguous()  # expect: MHA004
        y = y.transpose(1, 2).contiguous().view(b, t, c)
        return self.out_proj(y)
