# run: WindowAttention(24, window_size=2, num_heads=4)(torch.randn(2, 6, 4, 24))
"""Attention inside non-overlapping windows of an image."""
import torch
import torch.nn as nn


def window_partition(x, window_size: int):
    """
    Args:
        x: (B, H, W, C)
    Returns:
        windows: (num_windows*B, window_size, window_size, C)
    """
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    windows = x.permute(0, 1, 3, 2, 4, 5).view(-1, window_size, window_size, C)  # expect: MHA001
    return windows


def window_reverse(windows, window_size: int, H: int, W: int):
    C = windows.shape[-1]
    x = windows.view(-1, H // window_size, W // window_size, window_size, window_size, C)
    x = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, H, W, C)
    return x


class WindowAttention(nn.Module):
    def __init__(self, dim, window_size, num_heads, qkv_bias=True):
        super().__init__()
        self.dim = dim
        self.window_size = window_size
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, dim * 2, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        B, H, W, C = x.shape
        windows = window_partition(self.norm(x), self.window_size).view(-1, self.window_size * self.window_size, C)
        B_, N, C = windows.shape
        q = self.q(windows).reshape(B_, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        kv = self.kv(windows).reshape(B_, N, 2, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        attn = self.softmax((q * self.scale) @ kv[0].transpose(-2, -1))
        out = (attn @ kv[1]).transpose(1, 2).reshape(B_, N, C)
        out = self.proj(out)
        return window_reverse(out.view(-1, self.window_size, self.window_size, C), self.window_size, H, W)
