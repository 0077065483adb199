# run: Attention(24, 3)(torch.randn(2, 24, 4, 6))
# run: per_pixel(torch.randn(1, 3, 4, 5))
import torch
from torch import nn
from torch.nn import functional as F


def merged(x):
    """Any caller may pass a transposed tensor."""
    return x.contiguous().view(x.size(0), -1)


def per_pixel(scores):
    """In a batch of 1, the reshape gives a view that is not contiguous."""
    b, c, h, w = scores.shape
    return scores.permute(0, 2, 3, 1).reshape(-1, c).contiguous().view(-1)


class Attention(nn.Module):
    """Each `.contiguous()` is needed, or may be."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(3, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.contiguous().shape
        # weights in channels-last format make this one channels-last
        q, k, v = self.qkv(self.norm(x)).contiguous().view(b, 3, self.heads, c // self.heads, h * w).unbind(1)
        q = q.transpose(-2, -1).contiguous(memory_format=torch.contiguous_format)
        # the reshape alone would give a view that is not contiguous, and the view behind it would raise
        k = k.transpose(-2, -1).contiguous().reshape(b, self.heads, h, w, c // self.heads).view(b, self.heads, h * w, -1)
        y = F.scaled_dot_product_attention(q, k, v.transpose(-2, -1).contiguous()).contiguous()
        merged(y.transpose(1, 2))
        return self.proj(y.transpose(-2, -1).contiguous().view(b, c, h, w))
