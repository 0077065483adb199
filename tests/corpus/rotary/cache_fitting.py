# run: [cls(32, 4)(torch.randn(2, 5, 32), *GIVEN.get(cls, ())) for cls in Base.__subclasses__()]
"""Rotary positions that go on behind a cache, in many spellings, and code that only looks as if they did not."""

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
        if cache is not None:
            k = torch.cat((cache[0], k), dim=-2)
            v = torch.cat((cache[1], v), dim=-2)
        offset = k.shape[-2] - q.shape[-2]
        cache = (k, v)
        q, k = self.rotate(q, offset), self.rotate(k, 0)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), cache


class CountedInline(Base):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.k_cache = self.v_cache = None

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        before = 0 if self.k_cache is None else self.k_cache.shape[2]
        pos = torch.arange(before, before + t, device=x.device).float()
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
        start = past_kv[0].shape[2] if past_kv is not None else 0
        freqs = self.freqs_cis[start : start + x.shape[1]]
        q, k = self.turn(q, freqs), self.turn(k, freqs)
        if past_kv is not None:
            past_k, past_v = past_kv
            k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class PartByPart(Base):
    def forward(self, x, past_key=None, past_value=None):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        positions = torch.arange(0, t, device=x.device).float()
        if past_key is not None:
            positions = positions + past_key.shape[-2]
        angles = torch.einsum("i,j->ij", positions, self.inv_freq)
        cos, sin = angles.cos(), angles.sin()

        def turn(y):
            one, two = y[..., ::2], y[..., 1::2]
            return torch.stack((one * cos - two * sin, one * sin + two * cos), dim=-1).flatten(-2)

        q, k = turn(q), turn(k)
        if past_key is not None:
            k = torch.cat((past_key, k), dim=-2)
            v = torch.cat((past_value, v), dim=-2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), k, v


class TablesHandedIn(Base):
    """again, with cos and sin from outside."""

    def forward(self, x, cos, sin, layer_past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if layer_past is not None:
            k = torch.cat((layer_past[0], k), dim=-2)
            v = torch.cat((layer_past[1], v), dim=-2)
        present = (k, v)
        n = q.shape[-2]
        k = k * cos + rotate_half(k) * sin
        q = q * cos[..., -n:, :] + rotate_half(q) * sin[..., -n:, :]
        return self.merge(F.scaled_dot_product_attention(q, k, v)), present


class TablesByLength(Base):
    def forward(self, x, past_key_value=None, use_cache=False):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        seq_len = k.shape[-2]
        if past_key_value is not None:
            seq_len += past_key_value[0].shape[-2]
        cos, sin = self.rotary(v, seq_len=seq_len)
        cos, sin = cos[-q.shape[-2] :], sin[-q.shape[-2] :]
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if past_key_value is not None:
            k = torch.cat([past_key_value[0], k], dim=2)
            v = torch.cat([past_key_value[1], v], dim=2)
        past_key_value = (k, v) if use_cache else None
        return self.merge(F.scaled_dot_product_attention(q, k, v)), past_key_value


class IndexedTables(Base):
    def forward(self, x, kv_cache=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        position_ids = torch.arange(0, x.shape[1], device=x.device)
        position_ids = position_ids + (kv_cache["k"].shape[2] if kv_cache is not None else 0)
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
        self.cache = (k.detach(), v.detach())
        cos, sin = self.rotary(v, k.shape[2])
        k = k * cos + rotate_half(k) * sin
        n = q.shape[2]
        q = q * cos[-n:] + rotate_half(q) * sin[-n:]
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class StackedCache(Base):
    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        t = q.shape[2]
        before = 0 if past is None else past.shape[-2]
        cos, sin = self.rotary(v, before + t)
        q, k = apply_rotary_pos_emb(q, k, cos[before:], sin[before:])
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
        whole = q.shape[2] + (past[0].shape[2] if past else 0)
        cos, sin = self.rotary(v, whole)
        q, k = apply_rotary_pos_emb(q, k, cos[whole - q.shape[2] :], sin[whole - q.shape[2] :])
        k, v = self.extend(k, v, past)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class TokensFirst(Base):
    def forward(self, x, past=None):
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, self.d)
        k = self.k(x).view(b, t, self.heads, self.d)
        v = self.v(x).view(b, t, self.heads, self.d)
        n = 0 if past is None else past[0].shape[1]
        cos, sin = self.rotary.cos_cached[n : n + t], self.rotary.sin_cached[n : n + t]
        cos, sin = cos[None, :, None, :], sin[None, :, None, :]
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k = k if past is None else torch.cat([past[0], k], dim=1)
        v = v if past is None else torch.cat([past[1], v], dim=1)
        w = torch.einsum("bqhd,bkhd->bhqk", q, k).div(self.d**0.5).softmax(-1)
        y = torch.einsum("bhqk,bkhd->bqhd", w, v).flatten(2)
        return self.o(y), (k, v)


class Memory(Base):
    """Learned keys, which have no positions, stand before those of the tokens; nothing is kept."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.mem_k, self.mem_v = (nn.Parameter(torch.randn(1, heads, 4, self.d)) for _ in range(2))

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, x.shape[1])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        b = x.shape[0]
        k = torch.cat((self.mem_k.expand(b, -1, -1, -1), k), dim=2)
        v = torch.cat((self.mem_v.expand(b, -1, -1, -1), v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class PositionsGiven(Base):
    def forward(self, x, cos, sin, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class StartGiven(Base):
    def forward(self, x, start_pos: int = 0, past=None):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        positions = torch.arange(t, device=x.device) + start_pos
        angles = torch.outer(positions.float(), self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        q, k = apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class Backwards(Base):
    """Positions are counted back from the newest token: the last query is at 0, and what is kept is not rotated."""

    def turned(self, x, last):
        positions = torch.arange(last - x.shape[2] + 1, last + 1, device=x.device).float()
        angles = torch.outer(positions, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        return x * angles.cos() + rotate_half(x) * angles.sin()

    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        present = (k, v)
        return self.merge(F.scaled_dot_product_attention(self.turned(q, 0), self.turned(k, 0), v)), present


class BothKept(Base):
    """The bare keys are kept; the rotated ones are handed back for whoever looks at them."""

    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        present = (k, v)
        cos, sin = self.rotary(v, k.shape[2])
        n = q.shape[2]
        q = q * cos[-n:] + rotate_half(q) * sin[-n:]
        k = k * cos + rotate_half(k) * sin
        return self.merge(F.scaled_dot_product_attention(q, k, v)), present, k


class Newest(Base):
    """The whole sequence comes each time; with a cache, what was rotated is cut to the newest token."""

    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, x.shape[1])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if past is not None:
            q, k, v = q[:, :, -1:], k[:, :, -1:], v[:, :, -1:]
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v)), (k, v)


class OfPreviousLayer(Base):
    """Keys of another layer at the same tokens: positions begin anew."""

    def forward(self, x, earlier_keys=None, earlier_values=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        cos, sin = self.rotary(v, x.shape[1])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        if earlier_keys is not None:
            k, v = torch.cat((earlier_keys, k), dim=2), torch.cat((earlier_values, v), dim=2)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


GIVEN = {cls: (torch.ones(5, 8), torch.zeros(5, 8)) for cls in (TablesHandedIn, PositionsGiven)}
