import torch
from torch import nn


class WindowAttention(nn.Module):
    """Causal attention within windows of one size: the mask is the same in each call, and each call makes it anew."""

    def __init__(self, dim: int, num_heads: int, window: int):
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        x = x.view(b * (t // self.window), self.window, c)
        qkv = self.qkv(x).view(-1, self.window, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.transpose(1, 3).unbind(2)
        future = torch.ones(self.window, self.window, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-2, -1)) * (c // self.num_heads) ** -0.5
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, c)), weights
