"""A block whose attention gives weights that nobody reads: MHA202."""

import torch
from torch import nn


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and an MLP, x (b, t, c)."""

    def __init__(self, width=64, heads=4):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        y, _ = self.attend(y, y, y)  # the (b, t, t) weights are computed, averaged, and thrown away
        x = x + y
        return x + self.mlp(self.norm2(x))
