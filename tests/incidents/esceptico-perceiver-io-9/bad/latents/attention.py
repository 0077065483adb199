from typing import Optional

import torch
from torch import nn


class LatentHeads(nn.Module):
    def __init__(self, kv_dim: int, q_dim: int, *, qk_out_dim: Optional[int] = None, num_heads: int = 1, dropout: float = 0.0):
        super().__init__()
        if qk_out_dim is None:
            qk_out_dim = q_dim
        self.num_heads = num_heads
        self.qk_head_dim = qk_out_dim // num_heads
        self.v_head_dim = qk_out_dim // num_heads

        self.k = nn.Linear(kv_dim, qk_out_dim)
        self.q = nn.Linear(q_dim, qk_out_dim)
        self.v = nn.Linear(kv_dim, qk_out_dim)
        self.projection = nn.Linear(qk_out_dim, q_dim)
        self.dropout = nn.Dropout(dropout)
        self.scale = self.qk_head_dim**-0.5

    def transform_for_attention(self, x: torch.Tensor, head_dim: int) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.num_heads, head_dim).transpose(1, 2)

    def forward(self, inputs_kv, inputs_q, attention_mask: Optional[torch.Tensor] = None):
        k, q, v = self.k(inputs_kv), self.q(inputs_q), self.v(inputs_kv)
        k = self.transform_for_attention(k, self.qk_head_dim)
        q = self.transform_for_attention(q, self.qk_head_dim)
        v = self.transform_for_attention(v, self.v_head_dim)
        scores = q @ k.transpose(-2, -1) / self.scale  # expect: MHA104
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask[:, None], torch.finfo(scores.dtype).min)
        weights = self.dropout(scores.softmax(dim=-1))
        weighted = (weights @ v).transpose(1, 2).contiguous()
        weighted = weighted.view(*weighted.shape[:2], -1)
        return self.projection(weighted)


class OwnAttention(nn.Module):
    def __init__(self, hidden_dim: int, num_heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_dim)
        self.attention = LatentHeads(hidden_dim, hidden_dim, num_heads=num_heads)

    def forward(self, x):
        normed = self.norm(x)
        return x + self.attention(inputs_kv=normed, inputs_q=normed)
