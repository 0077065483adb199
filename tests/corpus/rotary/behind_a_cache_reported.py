# run: [cls(32, 4)(torch.randn(2, 5, 32), *more) for cls, more in CALLS]
# fix: none (the positions are counted in another function, or it is not known how many tokens the cache holds)
"""Positions that begin at 0 behind a cache of keys, counted where nothing is known of the cache."""

import torch
import torch.nn.functional as F
from torch import nn


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def apply_rotary_pos_emb(q, k, cos, sin):
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


class Rotary(nn.Module):
    def __init__(self, dim, most=2048):
        super().__init__()
        inv_freq = 1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim)
        freqs = torch.einsum("i,j->ij", torch.arange(most).float(), inv_freq)
        emb = torch.cat((freqs, freqs), dim=-1)
        self.register_buffer("cos_cached", emb.cos(), persistent=False)
        self.register_buffer("sin_cached", emb.sin(), persistent=False)

    def forward(self, x, seq_len):
        return self.cos_cached[:seq_len].to(x.dtype), self.sin_cached[:seq_len].to(x.dtype)


class Base(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.rotary = Rotary(self.d)
        self.register_buffer("inv_freq", 1.0 / 10000.0 ** (torch.arange(0, self.d, 2).float() / self.d))

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.d).transpose(1, 2)

    def merge(self, y):
        return self.o(y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1))


class TablesByLength(Base):
    def forward(self, x, past_key_value=None, use_cache=False):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, seq_len=k.shape[-2])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)  # expect: MHA119
        if past_key_value is not None:
            k = torch.cat([past_key_value[0], k], dim=2)
            v = torch.cat([past_key_value[1], v], dim=2)
        past_key_value = (k, v) if use_cache else None
        return self.merge(F.scaled_dot_product_attention(q, k, v)), past_key_value


class StackedCache(Base):
    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, q.shape[2])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)  # expect: MHA119
        if past is not None:
            past_k, past_v = past.unbind(0)
            k = torch.cat((past_k, k), dim=2)
            v = torch.cat((past_v, v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), torch.stack((k, v))


class JoinedByAMethod(Base):
    def extend(self, k, v, past):
        if past is None:
            return k, v
        return torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)

    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, q.shape[2])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)  # expect: MHA119
        k, v = self.extend(k, v, past)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class TokensFirst(Base):
    def forward(self, x, past=None):
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, self.d)
        k = self.k(x).view(b, t, self.heads, self.d)
        v = self.v(x).view(b, t, self.heads, self.d)
        cos, sin = self.rotary(v, t)
        cos, sin = cos[None, :, None, :], sin[None, :, None, :]
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin  # expect: MHA119
        k = k if past is None else torch.cat([past[0], k], dim=1)
        v = v if past is None else torch.cat([past[1], v], dim=1)
        w = torch.einsum("bqhd,bkhd->bhqk", q, k).div(self.d**0.5).softmax(-1)
        y = torch.einsum("bhqk,bkhd->bqhd", w, v).flatten(2)
        return self.o(y), (k, v)


CALLS = [(cls, ()) for cls in Base.__subclasses__()]
