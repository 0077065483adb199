# run: Attention(12, 3)(torch.randn(2, 5, 12))
# run: Either(12, 3)(torch.randn(2, 5, 12))
"""Two settings are asked about together, here and there: queries are scaled where scores are not."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, fused=True):
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.heads, self.head_width, self.fused = heads, width // heads, fused
        self.scale = 1 / math.sqrt(self.head_width)

    def split(self, x):
        return x.view(x.size(0), -1, self.heads, self.head_width).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        q = q if self.fused and not torch.jit.is_scripting() else q * self.scale
        if self.fused and not torch.jit.is_scripting():
            return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.out(((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2))


class Either(Attention):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        if self.training or not self.fused:
            q = q * self.scale
        if self.training or not self.fused:
            return self.out(((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
