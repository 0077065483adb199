# run: ConvTokens(12, 3)(torch.randn(2, 12, 4, 5))
# run: GroupedScores(16, 4, 2)(torch.randn(2, 5, 16))
"""Views that only split dims; a transposed tensor can be split without a copy."""
import torch
from torch import nn


class ConvTokens(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.proj = nn.Linear(channels, channels)

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # (b, hw, c), still channels first in memory
        q = tokens.view(b, h * w, self.heads, c // self.heads).transpose(1, 2)
        attn = (q @ q.transpose(-2, -1)).softmax(dim=-1)
        out = (attn @ q).transpose(1, 2).reshape(b, h * w, c)
        return self.proj(out).transpose(1, 2).view(b, c, h, w)


class GroupedScores(nn.Module):
    def __init__(self, dim, heads, groups):
        super().__init__()
        self.heads, self.groups = heads, groups
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim // groups)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q = self.q(x).view(b, t, self.heads, d).transpose(1, 2)
        q = q.view(b, self.heads // self.groups, self.groups, t, d)  # splits heads
        k, v = self.kv(x).view(b, t, 2, self.heads // self.groups, 1, d).permute(0, 3, 4, 2, 1, 5).split(1, dim=3)
        k, v = k.squeeze(3), v.squeeze(3)
        y = (q @ k.transpose(-2, -1) / d**0.5).softmax(-1) @ v
        y = y.permute(0, 3, 1, 2, 4).contiguous()
        return self.o(y.view(b, t, c))
