# run: CrossAttention(query_dim=20, context_dim=12, heads=3, dim_head=8)(torch.randn(2, 5, 20), torch.randn(2, 7, 12))
from __future__ import annotations

import torch
from torch import nn


class CrossAttention(nn.Module):
    """Queries from one sequence, keys and values from another of another width."""

    def __init__(self, query_dim: int, context_dim: int | None = None, heads: int = 8, dim_head: int = 64):
        super().__init__()
        inner_dim = dim_head * heads
        context_dim = query_dim if context_dim is None else context_dim
        self.scale = dim_head**-0.5
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, query_dim), nn.Dropout(0.0))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        s = context.shape[1]
        h = self.heads

        # fold the heads into the batch: (b h) n d
        q = self.to_q(x).view(b, n, h, -1).transpose(dim0=1, dim1=2).view(b * h, n, -1)  # expect: MHA001
        k = self.to_k(context).view(b, s, h, -1).transpose(dim0=1, dim1=2).view(b * h, s, -1)  # expect: MHA001
        v = self.to_v(context).view(b, s, h, -1).transpose(dim0=1, dim1=2).view(b * h, s, -1)  # expect: MHA001

        sim = torch.einsum("b i d, b j d -> b i j", q, k) * self.scale
        attn = sim.softmax(dim=-1)
        out = torch.bmm(attn, v)

        # and unfold them
        out = out.view(b, h, n, -1).transpose(1, 2).reshape(b, n, -1)
        return self.to_out(out)
