# run: CausalSelfAttention(32, 4, dropout=0.2)(torch.randn(2, 5, 32))
# run: Positional(32, 4)(torch.randn(2, 5, 32))
# run: RateOfTheLayer(32, 4)(torch.randn(2, 5, 32))
# run: CrossAttention(32, 4)(torch.randn(2, 3, 32), torch.randn(2, 6, 32))
# fix: unsafe
"""The fused attention is handed the rate as it is, in the ways that people keep one."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.functional import scaled_dot_product_attention


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head, dropout=0.1):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.attn_dropout = nn.Dropout(dropout)
        self.n_head = n_head
        self.dropout = dropout
        self.flash = hasattr(F, "scaled_dot_product_attention")

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        if self.flash:
            y = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=None,
                dropout_p=self.dropout,  # the rate in training  # expect: MHA103
                is_causal=True,
            )
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            att = F.softmax(att, dim=-1)
            att = self.attn_dropout(att)
            y = att @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class Positional(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.p = 0.1
        self.qkv = nn.Linear(dim, dim * 3)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        y = scaled_dot_product_attention(q, k, v, mask, self.p)  # expect: MHA103
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class RateOfTheLayer(nn.Module):
    def __init__(self, dim, heads, attn_drop=0.3):
        super().__init__()
        self.heads = heads
        self.attn_drop = nn.Dropout(attn_drop)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        rate = self.attn_drop.p
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)  # expect: MHA103
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class CrossAttention(nn.Module):
    def __init__(self, dim, heads, **kwargs):
        super().__init__()
        self.heads = heads
        self.dropout_rate = kwargs.get("dropout", 0.1)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)

    def split(self, x):
        return x.view(x.shape[0], -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)

    def forward(self, x, memory):
        q, k, v = map(self.split, (self.to_q(x), self.to_k(memory), self.to_v(memory)))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout_rate)  # expect: MHA103
        return self.to_out(y.transpose(1, 2).flatten(2))
