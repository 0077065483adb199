"""Fused attention that is given the causal mask as a tensor: MHA203."""

import torch
import torch.nn.functional as F
from torch import nn


class CausalSelfAttention(nn.Module):
    """Each token attends to itself and to what came before, x (b, t, c)."""

    def __init__(self, width=64, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        mask = torch.full((t, t), float("-inf"), device=x.device, dtype=q.dtype).triu(diagonal=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # `is_causal=True` says the same
        return self.out(y.transpose(1, 2).reshape(b, t, c))
