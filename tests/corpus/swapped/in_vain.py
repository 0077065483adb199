# run: Attention(12, 3)(torch.randn(2, 4, 5, 12))
"""Weights are computed that nothing reads; the attention behind them is laid out as it must be."""
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.scale = heads, (width // heads) ** -0.5

    def forward(self, image):
        b, h, w, c = image.shape
        q, k, v = self.qkv(image).reshape(b, h * w, 3, self.heads, -1).unbind(2)
        weights = (q * self.scale) @ k.transpose(-2, -1)
        weights = torch.softmax(weights, dim=-1).to(q.dtype)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.out(y.reshape(b, h, w, c))
