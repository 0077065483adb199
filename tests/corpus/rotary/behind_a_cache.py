# run: [cls(32, 4)(torch.randn(2, 5, 32)) for cls in Base.__subclasses__()]
# fix: unsafe
"""Positions that begin at 0 behind a cache of keys, and cached keys that are rotated again: each can be mended here."""

import math

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


class OffsetBeforeTheJoin(Base):
    """offset before the join, keys kept bare."""

    def angles(self, x, offset):
        t = torch.arange(x.shape[-2], device=x.device).float() + offset
        freqs = torch.outer(t, self.inv_freq)
        return torch.cat((freqs, freqs), dim=-1)

    def rotate(self, x, offset):
        a = self.angles(x, offset)
        return x * a.cos() + rotate_half(x) * a.sin()

    def forward(self, x, cache=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        offset = k.shape[-2] - q.shape[-2]
        if cache is not None:
            k = torch.cat((cache[0], k), dim=-2)
            v = torch.cat((cache[1], v), dim=-2)
        cache = (k, v)
        q, k = self.rotate(q, offset), self.rotate(k, 0)  # expect: MHA119
        return self.merge(F.scaled_dot_product_attention(q, k, v)), cache


class CountedInline(Base):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.k_cache = self.v_cache = None

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        pos = torch.arange(t, device=x.device).float()  # expect: MHA119
        freqs = pos[:, None] * self.inv_freq[None, :]
        emb = torch.cat([freqs, freqs], dim=-1)
        cos, sin = emb.cos(), emb.sin()
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        if self.k_cache is not None:
            k = torch.cat([self.k_cache, k], dim=2)
            v = torch.cat([self.v_cache, v], dim=2)
        self.k_cache, self.v_cache = k, v
        w = (q @ k.transpose(-2, -1) / math.sqrt(self.d)).softmax(dim=-1)
        return self.merge(w @ v)


class ComplexNumbers(Base):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        freqs = torch.outer(torch.arange(512).float(), self.inv_freq)
        self.register_buffer("freqs_cis", torch.polar(torch.ones_like(freqs), freqs), persistent=False)

    def turn(self, x, freqs):
        x_ = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(x_ * freqs).flatten(3).type_as(x)

    def forward(self, x, past_kv=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        freqs = self.freqs_cis[: x.shape[1]]  # expect: MHA119
        q, k = self.turn(q, freqs), self.turn(k, freqs)
        if past_kv is not None:
            past_k, past_v = past_kv
            k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class IndexedTables(Base):
    def forward(self, x, kv_cache=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        position_ids = torch.arange(0, x.shape[1], device=x.device)  # expect: MHA119
        cos, sin = self.rotary.cos_cached[position_ids], self.rotary.sin_cached[position_ids]
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if kv_cache is not None:
            k = torch.cat([kv_cache["k"], k], dim=2)
            v = torch.cat([kv_cache["v"], v], dim=2)
        kv_cache = {"k": k, "v": v}
        return self.merge(F.scaled_dot_product_attention(q, k, v)), kv_cache


class KeptAfterRotation(Base):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.cache = None

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if self.cache is not None:
            k = torch.cat((self.cache[0], k), dim=2)
            v = torch.cat((self.cache[1], v), dim=2)
        cos, sin = self.rotary(v, k.shape[2])
        k = k * cos + rotate_half(k) * sin  # expect: MHA119
        n = q.shape[2]
        q = q * cos[-n:] + rotate_half(q) * sin[-n:]
        self.cache = (k.detach(), v.detach())
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class OffsetNotGiven(Base):
    def rotate(self, x, offset=0):
        positions = torch.arange(x.shape[-2], device=x.device).float() + offset
        angles = torch.outer(positions, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        return x * angles.cos() + rotate_half(x) * angles.sin()

    def forward(self, x, past=None):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        q, k = self.rotate(q), self.rotate(k)  # expect: MHA119
        if past is not None:
            k, v = torch.cat((past[0], k), dim=-2), torch.cat((past[1], v), dim=-2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class ReturnedAfterRotation(Base):
    def forward(self, x, past_key_value=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        n = q.shape[-2]
        if past_key_value is not None:
            k = torch.cat((past_key_value[0], k), dim=-2)
            v = torch.cat((past_key_value[1], v), dim=-2)
        cos, sin = self.rotary(v, k.shape[-2])
        k = k * cos + rotate_half(k) * sin  # expect: MHA119
        q = q * cos[-n:] + rotate_half(q) * sin[-n:]
        past_key_value = (k, v)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), past_key_value
