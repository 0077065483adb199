"""Causal self-attention from a course: the mask of the hand-written version, given to the fused one."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class FusedCausalAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int, context_length: int = 64, dropout: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", torch.triu(torch.ones(context_length, context_length), diagonal=1).bool())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.num_heads, self.head_dim)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:t, :t], dropout_p=p)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class ClassicCausalAttention(nn.Module):
    """The other way round: `masked_fill` takes away what is True."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.num_heads, self.head_dim)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        allowed = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        scores = scores.masked_fill(allowed, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, c)), weights
