# run: Anew(32, 4, 0.2)(torch.randn(2, 5, 32))
# run: Kept(32, 4, 0.2)(torch.randn(2, 5, 32))
# fix: none (a layer that is made in each call is never in eval mode)
"""Dropout layers that are made where they are called, and one that the constructor made."""
import torch
from torch import nn


class Anew(nn.Module):
    def __init__(self, width, heads, rate):
        super().__init__()
        self.heads, self.rate = heads, rate
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).unbind(2)
        s = q.transpose(1, 2) @ k.transpose(1, 2).transpose(-2, -1) * (c // self.heads) ** -0.5
        w = nn.Dropout(self.rate)(s.softmax(-1))  # expect: MHA103
        if self.training:
            w = nn.Dropout(p=self.rate)(w)
        return self.out((w @ v.transpose(1, 2)).transpose(1, 2).reshape(b, n, c))


class Kept(nn.Module):
    def __init__(self, width, heads, rate):
        super().__init__()
        self.heads = heads
        self.drop = nn.Dropout(rate)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).unbind(2)
        s = q.transpose(1, 2) @ k.transpose(1, 2).transpose(-2, -1) * (c // self.heads) ** -0.5
        y = self.drop(s.softmax(-1)) @ v.transpose(1, 2)
        return self.out(nn.Dropout(0.0)(y.transpose(1, 2).reshape(b, n, c)))
