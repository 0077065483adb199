import math

import torch
from einops import rearrange
from torch import einsum, nn


class TableAttention(nn.Module):
    """Attention among the columns of a table."""

    def __init__(self, width: int, heads: int, bias: bool, dropout: float):
        super().__init__()
        assert width % heads == 0
        self.head_width = width // heads
        self.heads = heads
        self.dropout = nn.Dropout(dropout)
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_kv = nn.Linear(width, width * 2, bias=bias)
        self.to_out = nn.Linear(width, width, bias=bias)

    def forward(self, x, context=None):
        q = self.to_q(x)
        context = context if context is not None else x
        k, v = self.to_kv(context).chunk(2, dim=-1)
        q, k, v = (rearrange(t, "b m (h d) -> b h m d", h=self.heads) for t in (q, k, v))
        self.weights, y = self._attend(q, k, v)
        y = rearrange(y, "b h s d -> b s (h d)", h=self.heads)
        return self.to_out(y)

    def _attend(self, q, k, v):
        scores = einsum("b h s d, b h l d -> b h s l", q, k) / math.sqrt(self.head_width)
        weights = scores.softmax(dim=-1)
        y = einsum("b h s l, b h l d -> b h s d", self.dropout(weights), v)
        return weights, y
