# run: WindowAttention(12, (2, 3), 3)(torch.randn(4, 6, 12))
"""A method merges what it calls heads; its caller lays the result out in windows, which puts all back in order."""

import torch
from torch import nn


class WindowAttention(nn.Module):
    def __init__(self, width, window: tuple[int, int], heads):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.window, self.heads, self.out = window, heads, nn.Linear(width, width)

    def attend(self, q, k, v):
        entries, _, rows, width = q.shape
        weights = (q @ k.transpose(-2, -1) * width**-0.5).softmax(dim=-1)
        y = weights @ v
        return y.transpose(1, 2).reshape(entries, -1, rows * width)

    def forward(self, x):
        entries, n, width = x.shape
        qkv = self.qkv(x).reshape(entries, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = self.attend(qkv[0], qkv[1], qkv[2])
        return self.out(y.view(-1, *self.window, width))
