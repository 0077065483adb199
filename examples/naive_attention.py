"""Attention that is written by hand, where one call of a fused kernel does it: MHA201.

By hand, the scores of each head go to memory and come back for the scale, the mask, the softmax and the second product.
The fused call never writes them.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalSelfAttention(nn.Module):
    """The mask hides what comes later, so the fix says `is_causal=True`."""

    def __init__(self, width: int, heads: int, longest: int = 128):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest)), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) * self.head_width**-0.5
        scores = scores.masked_fill(self.past[:t, :t] == 0, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        y = weights @ v
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class CrossAttention(nn.Module):
    """The caller says what may be seen, and the fix hands that on."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """``bias`` is (tokens, tokens of the memory), and is added to the scores."""
        q, k, v = self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory))
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) / self.head_width**0.5 + bias
        y = torch.einsum("bhts,bhsd->bhtd", scores.softmax(dim=-1), v)
        return self.out(y.transpose(1, 2).flatten(2))


class Pooling(nn.Module):
    """It returns its weights, which no fused kernel gives."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, width))
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = (self.query @ self.key(x).transpose(-2, -1) * x.shape[-1] ** -0.5).softmax(dim=-1)
        return (weights @ self.value(x)).squeeze(1), weights
