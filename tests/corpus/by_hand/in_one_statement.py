# run: CrossAttention(24, 4)(torch.randn(2, 5, 24), torch.randn(2, 7, 24))
import torch
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory))
        y = (q @ k.transpose(-2, -1) / self.width**0.5).softmax(dim=-1) @ v  # expect: MHA201
        return self.out(y.transpose(1, 2).flatten(2))
