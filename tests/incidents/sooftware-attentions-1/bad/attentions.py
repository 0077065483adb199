from typing import Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Product(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.sqrt_dim = np.sqrt(dim)

    def forward(self, query, key, value, mask: Optional[torch.Tensor] = None) -> Tuple[torch.Tensor, torch.Tensor]:
        score = torch.bmm(query, key.transpose(1, 2)) / self.sqrt_dim
        if mask is not None:
            score = score.masked_fill(mask.view(score.size()), -float("Inf"))
        weights = F.softmax(score, -1)
        return torch.bmm(weights, value), weights


class Heads(nn.Module):  # expect: MHA003
    """The projection at the end is built, and no line applies it."""

    def __init__(self, d_model: int = 32, num_heads: int = 4):
        super().__init__()
        assert d_model % num_heads == 0, "d_model % num_heads should be zero."
        self.d_head = int(d_model / num_heads)
        self.num_heads = num_heads
        self.attention = Product(self.d_head)
        self.query_proj = nn.Linear(d_model, self.d_head * num_heads)
        self.key_proj = nn.Linear(d_model, self.d_head * num_heads)
        self.value_proj = nn.Linear(d_model, self.d_head * num_heads)
        self.out_projection = nn.Linear(d_model, d_model)

    def forward(self, query, key, value, mask: Optional[torch.Tensor] = None):
        size = value.size(0)
        query = self.query_proj(query).view(size, -1, self.num_heads, self.d_head)
        key = self.key_proj(key).view(size, -1, self.num_heads, self.d_head)
        value = self.value_proj(value).view(size, -1, self.num_heads, self.d_head)
        query = query.permute(2, 0, 1, 3).contiguous().view(size * self.num_heads, -1, self.d_head)
        key = key.permute(2, 0, 1, 3).contiguous().view(size * self.num_heads, -1, self.d_head)
        value = value.permute(2, 0, 1, 3).contiguous().view(size * self.num_heads, -1, self.d_head)
        if mask is not None:
            mask = mask.unsqueeze(1).repeat(1, self.num_heads, 1, 1)
        context, weights = self.attention(query, key, value, mask)
        context = context.view(self.num_heads, size, -1, self.d_head)
        context = context.permute(1, 2, 0, 3).contiguous().view(size, -1, self.num_heads * self.d_head)
        return context, weights
