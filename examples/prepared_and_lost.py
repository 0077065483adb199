"""Attention over residues that is given a mask of those that are there: it is prepared, and then forgotten."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class PairAttention(nn.Module):
    """``mask`` (b, n) is True for the residues that are there."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, n, c = x.shape
        qkv = self.to_qkv(x).view(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        if mask is not None:
            mask = mask[:, None, None, :].expand(-1, self.num_heads, n, -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None)
        return self.to_out(y.transpose(1, 2).reshape(b, n, c))
