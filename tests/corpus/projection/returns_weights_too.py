# fix: unsafe
# run: VisualizableAttention(18, 3)(torch.randn(2, 5, 18))
"""Attention that hands out its weights for plotting."""
from typing import Tuple

import torch
from torch import nn, Tensor


class VisualizableAttention(nn.Module):  # expect: MHA003
    def __init__(self, hidden_size: int, num_heads: int, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_size = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.num_heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.num_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.num_heads, self.head_size).transpose(1, 2)
        weights = (q @ k.transpose(-1, -2) / self.head_size**0.5).softmax(-1)
        context = (weights @ v).transpose(1, 2).reshape(b, t, c)
        return context, weights
