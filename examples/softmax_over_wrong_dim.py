"""A softmax over a dimension that is not the keys': MHA105.

The first names no dimension: for scores of three dimensions torch takes the batch's. The second has its scores as
(query, key, batch, head), in which dimension 1 would be right.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CrossAttention(nn.Module):
    def __init__(self, d_model: int, d_k: int):
        super().__init__()
        self.d_k = d_k
        self.query, self.key, self.value = nn.Linear(d_model, d_k), nn.Linear(d_model, d_k), nn.Linear(d_model, d_k)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.bmm(self.query(x), self.key(memory).transpose(1, 2)) * self.d_k**-0.5
        weights = F.softmax(scores)
        return torch.bmm(weights, self.value(memory)), weights


class MultiHeadAttention(nn.Module):
    def __init__(self, heads: int, d_model: int):
        super().__init__()
        self.heads, self.d_k = heads, d_model // heads
        self.query, self.key, self.value = (nn.Linear(d_model, d_model) for _ in range(3))
        self.softmax = nn.Softmax(dim=-1)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seq_len, batch_size, d_model = x.shape
        q = self.query(x).view(seq_len, batch_size, self.heads, self.d_k)
        k = self.key(x).view(seq_len, batch_size, self.heads, self.d_k)
        v = self.value(x).view(seq_len, batch_size, self.heads, self.d_k)
        scores = torch.einsum("ibhd,jbhd->ijbh", q, k) * self.d_k**-0.5
        context = torch.einsum("ijbh,jbhd->ibhd", self.softmax(scores), v)
        return self.output(context.reshape(seq_len, batch_size, d_model))
