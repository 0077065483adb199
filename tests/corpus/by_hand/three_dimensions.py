# run: Heads(24, 4)(torch.randn(2, 5, 24), torch.randn(2, 7, 24))
import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def fold(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.width).transpose(1, 2).reshape(b * self.heads, t, self.width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.fold(self.query(x)), self.fold(self.key(memory)), self.fold(self.value(memory))
        scores = torch.bmm(q * self.width**-0.5, k.transpose(1, 2))
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)  # expect: MHA201
        mixed = torch.bmm(weights, v)
        return self.out(mixed.view(b, self.heads, t, self.width).transpose(1, 2).reshape(b, t, c))
