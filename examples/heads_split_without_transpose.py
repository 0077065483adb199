"""Heads are split off straight to the front, across the tokens: MHA102.

A recommender library viewed its projections as `(batch * heads, fields, width)`: each "head" got all features of a few
fields. Merging the heads the same way at the end hides it even from a look at the shapes.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class FieldSelfAttention(nn.Module):
    def __init__(self, input_dim: int, attention_dim: int, num_heads: int):
        super().__init__()
        self.attention_dim = attention_dim
        self.num_heads = num_heads
        self.W_q = nn.Linear(input_dim, attention_dim * num_heads, bias=False)
        self.W_k = nn.Linear(input_dim, attention_dim * num_heads, bias=False)
        self.W_v = nn.Linear(input_dim, attention_dim * num_heads, bias=False)
        self.W_o = nn.Linear(attention_dim * num_heads, input_dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch_size = x.size(0)
        query = self.W_q(x).view(batch_size * self.num_heads, -1, self.attention_dim)
        key = self.W_k(x).view(batch_size * self.num_heads, -1, self.attention_dim)
        value = self.W_v(x).view(batch_size * self.num_heads, -1, self.attention_dim)
        output = F.scaled_dot_product_attention(query, key, value)
        return self.W_o(output.view(batch_size, -1, self.num_heads * self.attention_dim))


class Decoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.to_kv = nn.Linear(d_model, 2 * d_model)
        self.to_q = nn.Linear(d_model, d_model)
        self.to_out = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q = self.to_q(x).view(b, self.n_heads, t, self.d_head)
        k, v = self.to_kv(x).view(b, t, 2, self.n_heads, self.d_head).permute(2, 0, 3, 1, 4)[0:2].chunk(2)
        y = F.scaled_dot_product_attention(q, k[0], v[0], is_causal=True)
        return self.to_out(y.transpose(1, 2).reshape(b, t, c))
