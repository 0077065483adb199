# run: CachedAttention(24, 4)(torch.randn(2, 3, 24))
# run: CachedAttention(24, 4)(torch.randn(2, 3, 24), (torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)))
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class KVCache(NamedTuple):
    key: Tensor  # (b, h, s, d)
    value: Tensor  # (b, h, s, d)


class CachedAttention(nn.Module):
    """Decoder attention which appends to, and returns, a cache of keys and values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads: int = num_heads
        self.head_dim: int = dim // num_heads
        self.query_proj: nn.Linear = nn.Linear(dim, dim)
        self.key_proj: nn.Linear = nn.Linear(dim, dim)
        self.value_proj: nn.Linear = nn.Linear(dim, dim)
        self.out_proj: nn.Linear = nn.Linear(dim, dim)

    def _split(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        return x.view(b, t, self.num_heads, self.head_dim).transpose(1, 2)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, KVCache]:
        b, t, c = x.shape
        q: Tensor = self._split(self.query_proj(x))
        k: Tensor = self._split(self.key_proj(x))
        v: Tensor = self._split(self.value_proj(x))
        if past is not None:
            past_k, past_v = past
            k = torch.cat([past_k, k], dim=2)
            v = torch.cat([past_v, v], dim=2)

        s: int = k.shape[2]
        mask: Tensor = torch.ones(t, s, dtype=torch.bool, device=x.device).tril(diagonal=s - t)
        scores: Tensor = torch.matmul(q, k.transpose(-1, -2)) * self.head_dim**-0.5
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        context: Tensor = torch.matmul(torch.softmax(scores, dim=-1), v)
        context = context.transpose(1, 2).view(b, t, c)  # expect: MHA001
        return self.out_proj(context), KVCache(k, v)
