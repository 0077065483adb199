# run: Lengths(32, 4)(torch.randn(2, 5, 32))
# run: Settings(32, 4)(torch.randn(2, 5, 32), {"causal": False})
# run: Lengths(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: NoCacheNoFlag(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: OneTokenOrAMask(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
# run: OneTokenOrThePrompt(32, 4)(torch.randn(2, 3, 32), Empty())
# run: OnlyWhileEmpty(32, 4)(torch.randn(2, 3, 32))
# run: NullKey(32, 4)(torch.randn(2, 3, 32))
# run: Prefill(32, 4)(torch.randn(2, 3, 32))
# run: LowerRight(32, 4)(torch.randn(2, 1, 32), (torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)))
"""Caches whose lengths, or whose being there, somebody asks for before the flag is set."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.null_key = nn.Parameter(torch.zeros(2, heads, 1, dim // heads))

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def all(self, x):
        return self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))


class Lengths(Base):
    def forward(self, x, past=None):
        q, k, v = self.all(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.size(2) == k.size(2))
        return self.o(y.transpose(1, 2).flatten(2))


class Settings(Base):
    def forward(self, x, settings, past=None):
        q, k, v = self.all(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=settings["causal"])
        return self.o(y.transpose(1, 2).flatten(2))


class NoCacheNoFlag(Base):
    def forward(self, x, past=None):
        q, k, v = self.all(x)
        causal = True
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            causal = False
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.o(y.transpose(1, 2).flatten(2))


class OneTokenOrAMask(Base):
    """Several tokens behind a cache come with a mask."""

    def forward(self, x, past=None, mask=None):
        q, k, v = self.all(x)
        t = x.shape[1]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and t > 1)
        return self.o(y.transpose(1, 2).flatten(2))


class Empty:
    """A cache that is there while the prompt is read, too."""

    def update(self, key, value):
        return key, value


class OneTokenOrThePrompt(Base):
    def forward(self, x, cache=None):
        q, k, v = self.all(x)
        if cache is not None:
            k, v = cache.update(k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return self.o(y.transpose(1, 2).flatten(2))


class OnlyWhileEmpty(Base):
    def forward(self, x, past=None):
        q, k, v = self.all(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        return self.o(y.transpose(1, 2).flatten(2))


class NullKey(Base):
    """A learned key that everyone may see stands before the others: no cache."""

    def forward(self, x):
        q, k, v = self.all(x)
        k = torch.cat([self.null_key, k], dim=2)
        v = torch.cat([torch.zeros_like(self.null_key), v], dim=2)
        y = F.scaled_dot_product_attention(F.pad(q, (0, 0, 1, 0)), k, v, is_causal=True)
        return self.o(y[:, :, 1:].transpose(1, 2).flatten(2))


class Prefill(Base):
    def forward(self, x, past=None, prefill=True):
        q, k, v = self.all(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        if prefill:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.o(y.transpose(1, 2).flatten(2))


class LowerRight(Base):
    def forward(self, x, past=None):
        q, k, v = self.all(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        t, s = q.shape[2], k.shape[2]
        mask = torch.ones(t, s, dtype=torch.bool, device=x.device).tril(s - t)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o(y.transpose(1, 2).flatten(2))
