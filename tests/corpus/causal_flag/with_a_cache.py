# run: Concatenates(32, 4)(torch.randn(2, 5, 32))
# run: Concatenates(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: Updates(32, 4)(torch.randn(2, 1, 32), Grown())
# run: Allocated(32, 4)(torch.randn(2, 3, 32), 2)
# run: ByItsAttribute(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: GroupedQueries(32, 4)(torch.randn(2, 1, 32), Grown())
# run: OneToken(32, 4)(torch.randn(2, 2, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: MoreThanOne(32, 4)(torch.randn(2, 2, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# fix: none (how many tokens are decoded at a time is not told)
"""The causal flag although the keys come from a cache."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Grown:
    def update(self, key, value, layer=0):
        b, h, _, d = key.shape
        past = torch.zeros(b, h, 4, d)
        return torch.cat([past, key], dim=2), torch.cat([past, value], dim=2)


class Base(nn.Module):
    def __init__(self, dim, heads, causal=True):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)


class Concatenates(Base):
    def forward(self, x, layer_past=None):
        q = self.split(self.q(x))
        k = self.split(self.k(x))
        v = self.split(self.v(x))
        if layer_past is not None:
            past_key, past_value = layer_past
            k = torch.cat((past_key, k), dim=-2)
            v = torch.cat((past_value, v), dim=-2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA109
        return self.o(y.transpose(1, 2).flatten(2)), (k, v)


class Updates(Base):
    def forward(self, x, past_key_values):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        k, v = past_key_values.update(k, v, 0)
        y = F.scaled_dot_product_attention(q, k, v, None, 0.0, True)  # expect: MHA109
        return self.o(y.transpose(1, 2).reshape(b, t, c))


class Allocated(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.register_buffer("cache_k", torch.zeros(2, heads, 16, dim // heads), persistent=False)
        self.register_buffer("cache_v", torch.zeros(2, heads, 16, dim // heads), persistent=False)

    def forward(self, x, start):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        self.cache_k[:b, :, start : start + t] = k.detach()
        self.cache_v[:b, :, start : start + t] = v.detach()
        keys = self.cache_k[:b, :, : start + t]
        values = self.cache_v[:b, :, : start + t]
        y = F.scaled_dot_product_attention(q, keys, values, is_causal=True)  # expect: MHA109
        return self.o(y.transpose(1, 2).reshape(b, t, c))


class ByItsAttribute(Base):
    def forward(self, x, kv_cache=None):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if kv_cache is not None:
            k = torch.cat([kv_cache[0], k], 2)
            v = torch.cat([kv_cache[1], v], 2)
        new_cache = (k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # expect: MHA109
        return self.o(y.transpose(1, 2).reshape(b, t, c)), new_cache


class GroupedQueries(Base):
    def forward(self, x, cache=None, use_cache=True):
        b, t, c = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x))[:, ::2], self.split(self.v(x))[:, ::2]
        if use_cache:
            k, v = cache.update(k, v)
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA109
        return self.o(y.transpose(1, 2).reshape(b, t, c))


class OneToken(Base):
    """Several tokens may come behind the cache."""

    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        t = x.shape[1]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        if t == 1:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA109
        return self.o(y.transpose(1, 2).flatten(2))


class MoreThanOne(Base):
    def forward(self, x, past=None):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)  # expect: MHA109
        return self.o(y.transpose(1, 2).flatten(2))
