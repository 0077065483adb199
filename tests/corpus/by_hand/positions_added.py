# run: Attention(24, 4).eval()(torch.randn(2, 9, 24))
# fix: unsafe
import torch
import torch.nn.functional as F
from torch import nn


def add_positions(scores: torch.Tensor, slopes: torch.Tensor, first: int) -> torch.Tensor:
    positions = torch.arange(scores.shape[-1] - first, device=scores.device)
    distance = (positions[:, None] - positions).abs()
    scores[:, :, first:, first:] = scores[:, :, first:, first:] - distance * slopes
    return scores


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.slopes = nn.Parameter(torch.ones(heads, 1, 1))
        self.learned = nn.Parameter(torch.ones(heads, 1, 1))
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (layer(x).view(b, t, self.heads, self.width).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) * self.learned
        scores = add_positions(scores, self.slopes, 1)
        weights = self.drop(F.softmax(scores, dim=-1))  # expect: MHA201
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c))
