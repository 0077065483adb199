# run: GroupedQueryAttention(32, 8, 2)(torch.randn(2, 5, 32))
"""Grouped-query attention that widens K and V by expand."""

import torch
from torch import nn


class GroupedQueryAttention(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, num_kv_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.groups = num_heads // num_kv_heads
        self.head_dim = hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, num_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, num_kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, num_kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(num_heads * self.head_dim, hidden_size, bias=False)

    def repeat_kv(self, x: torch.Tensor) -> torch.Tensor:
        b, n_kv, t, d = x.shape
        x = x[:, :, None, :, :].expand(b, n_kv, self.groups, t, d)
        return x.view(b, n_kv * self.groups, t, d)  # expect: MHA001

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        b, t, _ = hidden_states.size()
        q = self.q_proj(hidden_states).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(hidden_states).view(b, t, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(hidden_states).view(b, t, self.num_kv_heads, self.head_dim).transpose(1, 2)
        k, v = self.repeat_kv(k), self.repeat_kv(v)
        scores = (q @ k.transpose(2, 3)) / self.head_dim**0.5
        scores = scores + torch.full((t, t), float("-inf"), device=q.device, dtype=q.dtype).triu(1)
        out = scores.softmax(-1) @ v
        out = out.transpose(1, 2).contiguous().view(b, t, -1)
        return self.o_proj(out)
