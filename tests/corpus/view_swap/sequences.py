# fix: unsafe
# run: Channels(12)(torch.randn(2, 12, 5))
# run: Attended(12, 3)(torch.randn(2, 12, 3, 5))
# run: TimeFirst(12)(torch.randn(5, 2, 12))
# run: Called(12)(torch.randn(2, 12, 5))
# run: Groups(12, 3)(torch.randn(2, 12, 5))
"""Sequences whose channels, entries or heads change places with their tokens by a view."""
import torch
import torch.nn.functional as F
from torch import nn


class Channels(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, 3, batch_first=True)

    def forward(self, x):
        batch, channels, length = x.size()
        x = x.contiguous().view(batch, length, channels)  # expect: MHA121
        return self.attend(x, x, x, need_weights=False)[0]


class Attended(nn.Module):
    """The context of an attention over pixels, whose features become channels."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        d = c // self.heads
        q, k, v = (part.reshape(b, self.heads, d, h * w).transpose(2, 3) for part in self.qkv(x).chunk(3, dim=1))
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.reshape(b, self.heads, d, h, w)  # expect: MHA121
        return self.out(y.reshape(b, c, h, w))


class TimeFirst(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.to_out = nn.Linear(width, width)

    def forward(self, x):
        t, b, c = x.shape
        x = x.reshape(b, t, c)  # expect: MHA121
        return self.to_out(F.scaled_dot_product_attention(x, x, x))


class Called(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.to_out = nn.Linear(width, width)

    def as_tokens(self, maps):
        n, c, t = maps.shape
        return maps.reshape(n, t, c)  # expect: MHA121

    def forward(self, x):
        x = self.as_tokens(x)
        return self.to_out(F.scaled_dot_product_attention(x, x, x))


class Groups(nn.Module):
    """Channels first, split into heads and tokens at once."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(heads, channels)

    def forward(self, x):
        b, c, t = x.shape
        q = self.norm(x).view(b, self.heads, t, c // self.heads)  # expect: MHA121
        k = x.view(b, self.heads, c // self.heads, t).transpose(2, 3)
        y = F.scaled_dot_product_attention(q, k, k)
        return y.transpose(2, 3).reshape(b, c, t)
