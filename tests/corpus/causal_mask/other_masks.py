# run: (Cached(32)(torch.randn(2, 5, 32)), Windowed(32)(torch.randn(2, 5, 32)), Prefixed(32)(torch.randn(2, 5, 32)))
# run: (Padded(32)(torch.randn(2, 5, 32), torch.ones(2, 5).bool()), Chosen(32)(torch.randn(2, 5, 32)))
import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    """What the attentions of this file have in common."""

    def __init__(self, dim, heads=4, longest=64):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", torch.ones(longest, longest, dtype=torch.bool).tril())

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)

    def merge(self, y):
        b, h, t, d = y.shape
        return self.proj(y.transpose(1, 2).reshape(b, t, h * d))


class Cached(Heads):
    """There are more keys than queries; the mask of the flag begins at the oldest key."""

    def forward(self, x, past=None):
        q, k, v = self.split(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        t, s = q.shape[2], k.shape[2]
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[s - t : s, :s]))


class Windowed(Heads):
    """The mask hides the distant past, too."""

    def forward(self, x, window=3):
        q, k, v = self.split(x)
        t = q.shape[2]
        near = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(-window)
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:t, :t] & near))


class Prefixed(Heads):
    """All tokens see the first ones."""

    def forward(self, x, prefix=2):
        q, k, v = self.split(x)
        t = q.shape[2]
        mask = self.mask[:t, :t].clone()
        mask[:, :prefix] = True
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


class Padded(Heads):
    """The mask hides padding, too."""

    def forward(self, x, tokens=None):
        q, k, v = self.split(x)
        t = q.shape[2]
        mask = self.mask[:t, :t]
        if tokens is not None:
            mask = mask & tokens[:, None, None, :]
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


class Chosen(Heads):
    """Somebody may set another mask, or hand one in."""

    def use(self, mask):
        self.mask = mask

    def forward(self, x, mask=None):
        q, k, v = self.split(x)
        t = q.shape[2]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:t, :t])
        if mask is None:
            mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        return self.merge(y + F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
