import math
from typing import Optional

import torch
from torch import nn


class HeadsAttention(nn.Module):
    def __init__(self, hidden_dim: int, num_heads: int):
        super().__init__()
        assert hidden_dim % num_heads == 0
        self.qkv_dim = hidden_dim // num_heads
        self.num_heads = num_heads
        self.qkv_proj = nn.Linear(hidden_dim, 3 * num_heads * self.qkv_dim, bias=False)
        self.o_proj = nn.Linear(num_heads * self.qkv_dim, hidden_dim, bias=False)

    def forward(self, x, encoder_states: Optional[torch.Tensor] = None, future_mask: Optional[torch.Tensor] = None):
        batch_size, sequence_length, hidden_dim = x.size()
        if encoder_states is None:
            q, k, v = self._self_projection(x)
        else:
            q, k, v = self._cross_projection(encoder_states, x)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 1, 3), v.permute(0, 2, 1, 3)
        values, weights = self.attend(q, k, v, future_mask)
        values = values.reshape(batch_size, sequence_length, hidden_dim)  # expect: MHA101
        return self.o_proj(values)

    def _self_projection(self, x):
        b, t, _ = x.shape
        qkv = self.qkv_proj(x).reshape(b, t, self.num_heads, 3 * self.qkv_dim)
        return qkv.chunk(3, dim=-1)

    def _cross_projection(self, encoder_states, decoder_states):
        (b, s, c), (_, t, _) = encoder_states.shape, decoder_states.shape
        w_q, w_kv = self.qkv_proj.weight.split([c, 2 * c])
        k, v = nn.functional.linear(encoder_states, w_kv).reshape(b, s, self.num_heads, 2 * self.qkv_dim).chunk(2, dim=-1)
        q = nn.functional.linear(decoder_states, w_q).reshape(b, t, self.num_heads, self.qkv_dim)
        return q, k, v

    def attend(self, q, k, v, future_mask=None):
        logits = torch.matmul(q, torch.transpose(k, -2, -1)) / math.sqrt(q.size()[-1])
        if future_mask is not None:
            logits = logits.masked_fill(future_mask == 0, float("-inf"))
        weights = torch.softmax(logits, dim=-1)
        return torch.matmul(weights, v), weights
