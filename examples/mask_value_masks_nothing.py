"""Attention over padded sentences, whose mask value has lost its size to a slip of one character."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class InterpretableAttention(nn.Module):
    """Heads that share their values, as in forecasting: (b, t, c) in, (b, t, c) out."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.1):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, self.head_dim)
        self.proj = nn.Linear(self.head_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q = self.query(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.key(x).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.value(x).unsqueeze(1)  # (b, 1, t, d)

        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        past = torch.tril(torch.ones(t, t, device=x.device))
        scores = scores.masked_fill(past == 0, -1e-9)
        weights = self.dropout(F.softmax(scores, dim=-1))
        return self.proj((weights @ v).mean(dim=1))
