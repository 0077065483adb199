# fix: unsafe
# run: AnyRank(24, 4)(torch.randn(2, 5, 24))
# run: Behind(24, 4)(torch.randn(2, 3, 5, 24))
"""Heads are split off, moved and merged by dimensions that are counted from the end."""
import torch
from torch import nn
from torch.nn import functional as F


class AnyRank(nn.Module):  # expect: MHA003
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        q, k, v = (t.movedim(-2, -3) for t in (q, k, v))
        weights = torch.softmax(q @ k.mT * q.size(-1) ** -0.5, dim=-1)
        return (weights @ v).transpose(-3, -2).flatten(-2)


class Behind(nn.Module):  # expect: MHA003
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)

    def forward(self, x):
        packed = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = (packed[..., part, :, :].transpose(-3, -2) for part in (0, 1, 2))
        return F.scaled_dot_product_attention(q, k, v).swapaxes(-3, -2).flatten(-2, -1)
