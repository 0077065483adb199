"""The fused attention is handed its rate of dropout in both modes: MHA103.

`scaled_dot_product_attention` is a function: it drops whenever the rate is above 0, and can't know that the module that
calls it is in eval mode. The slow path beside it, with its `nn.Dropout`, does.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, embed_dim: int, heads: int, dropout: float = 0.1, fused: bool = True):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.fused = fused
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.attention_dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=True)
        else:
            future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
            scores = (q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5).masked_fill(future, float("-inf"))
            y = self.attention_dropout(scores.softmax(dim=-1)) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Encoder(nn.Module):
    """The weights are dropped by a function, which takes it that this is training unless it is told."""

    def __init__(self, embed_dim: int, heads: int, dropout: float = 0.1):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        weights = (q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5).softmax(dim=-1)
        weights = F.dropout(weights, self.dropout)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, c)), weights
