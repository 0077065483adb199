import math

import torch
import torch.nn as nn
from sphere.quadrature import quadrature_weights


class SphereAttention(nn.Module):
    """All points of the sphere attend to all points; the scores carry the logarithm of the quadrature's weights."""

    def __init__(self, channels, heads, grid, scale=None, drop_rate=0.0, bias=True):
        super().__init__()
        self.grid = grid
        self.heads = heads
        self.drop_rate = drop_rate
        self.scale = scale
        weights = quadrature_weights(grid[0]).unsqueeze(1).expand(*grid)
        self.register_buffer("log_weights", torch.log(weights).reshape(1, 1, -1), persistent=False)
        self.to_q = nn.Conv2d(channels, channels, 1, bias=bias)
        self.to_k = nn.Conv2d(channels, channels, 1, bias=bias)
        self.to_v = nn.Conv2d(channels, channels, 1, bias=bias)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        q = q.reshape(b, self.heads, -1, h * w).permute(0, 1, 3, 2)
        k = k.reshape(b, self.heads, -1, h * w).permute(0, 1, 3, 2)
        v = v.reshape(b, self.heads, -1, h * w).permute(0, 1, 3, 2)
        scale = self.scale if self.scale is not None else 1.0 / math.sqrt(c // self.heads)
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=self.log_weights, dropout_p=self.drop_rate if self.training else 0.0, scale=scale
        )
        out = out.permute(0, 1, 3, 2).reshape(b, c, h, w)
        return self.to_out(out)
