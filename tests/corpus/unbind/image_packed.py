# run: ImageAttention(24, 4)(torch.randn(2, 24, 3, 5))
"""Attention over the pixels of (b, c, h, w), packed by a 1x1 convolution."""
import torch
from torch import nn
import torch.nn.functional as F


class ImageAttention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        assert channels % heads == 0
        self.heads = heads
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.to_qkv(x).view(b, 3, self.heads, c // self.heads, h * w).permute(1, 0, 2, 4, 3)
        q, k, v = qkv.unbind(0)  # (b, heads, pixels, d) each  # expect: MHA002
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.transpose(2, 3).reshape(b, c, h, w)
        return x + self.to_out(y)
