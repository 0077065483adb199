"""Heads are folded into the batch, and the mask lacks them: it runs for a batch of one sentence, and raises for two."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class SentenceAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        split = (b, t, self.num_heads, self.head_dim)
        q, k, v = (
            part.reshape(split).transpose(1, 2).reshape(b * self.num_heads, t, self.head_dim)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        both = mask[:, :, None] & mask[:, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=both).view(b, self.num_heads, t, self.head_dim)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
