import math

import torch
from fusion.layers.base import AttentionBase
from torch import nn


class InterpretableAttention(AttentionBase):
    def __init__(self, d_hidden, n_head, dropout=0.0):
        super().__init__(d_hidden, n_head, dropout)
        self.qkv_proj = nn.Linear(d_hidden, 3 * d_hidden)
        self.out_proj = nn.Linear(d_hidden, d_hidden)

    def _split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.n_head, self.d_head).transpose(1, 2)

    def _compute_qkv(self, x):
        q, k, v = self.qkv_proj(x).chunk(3, dim=-1)
        return self._split(q), self._split(k), self._split(v)

    def forward(self, x, key_mask=None):
        q, k, v = self._compute_qkv(x)
        score = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.d_head)
        mix = self._compute_attn(score, v, key_mask).transpose(1, 2)
        return self.out_proj(mix.reshape(x.shape))
