"""Dimensions change places in a view, and nothing moved them: MHA121.

The channels of an image are to become the features of tokens. A reshape gives the right shape and the wrong numbers: a
"token" holds pixels of one channel. The way back has the same slip, and hides it from whoever looks at shapes alone.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class PixelAttention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        tokens = x.reshape(b, h * w, c)
        attended, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return attended.transpose(1, 2).reshape(b, c, h, w)


class SpatialAttention(nn.Module):
    """The context is (batch, heads, pixels, features), and the image wants its features first."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        d = c // self.heads
        q, k, v = (part.reshape(b, self.heads, d, h * w).transpose(2, 3) for part in self.to_qkv(x).chunk(3, dim=1))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.reshape(b, self.heads, d, h, w)
        return self.to_out(context.flatten(1, 2))


class RightOrder(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        attended, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return attended.transpose(1, 2).reshape(b, c, h, w)
