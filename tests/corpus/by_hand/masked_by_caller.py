# run: Attention(24, 4)(torch.randn(2, 5, 24), torch.ones(2, 1, 1, 5))
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: "torch.Tensor | None" = None) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = (layer(x).view(b, t, self.heads, self.width).transpose(1, 2) for layer in (self.q, self.k, self.v))
        energy = q @ k.transpose(-2, -1) / self.width**0.5
        if mask is not None:
            energy = energy.masked_fill(mask == 0, torch.finfo(energy.dtype).min)
        attention = energy.softmax(dim=-1)  # expect: MHA201
        return self.out((attention @ v).transpose(1, 2).reshape(b, t, -1))
