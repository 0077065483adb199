# run: UpperGiven(32, 4)(torch.randn(2, 5, 32))
# run: Buffer(32, 4)(torch.randn(2, 5, 32))
# run: Positional(32, 4)(torch.randn(2, 5, 32))
# run: Compared(32, 4)(torch.randn(2, 5, 32))
# run: Inverted(32, 4)(torch.randn(2, 5, 32))
# run: WithPadding(32, 4)(torch.randn(2, 5, 32))
# run: Layer(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Masks of the future given to what takes those of the past, and the other way round."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class UpperGiven(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        t = x.shape[1]
        attn_mask = torch.triu(torch.ones(t, t, device=x.device), diagonal=1).bool()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)  # expect: MHA106
        return self.merge(y)


class Buffer(Base):
    def __init__(self, dim, heads, context=16):
        super().__init__(dim, heads)
        self.register_buffer("mask", torch.triu(torch.ones(context, context), diagonal=1).bool())

    def forward(self, x):
        q, k, v = self.split(x)
        t = x.shape[1]
        if self.mask.shape[0] > t:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:t, :t])  # expect: MHA106
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.merge(y)


class Positional(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        past = torch.ones(x.shape[1], x.shape[1], device=x.device).tril()
        return self.merge(F.scaled_dot_product_attention(q, k, v, past == 0))  # expect: MHA106


class Compared(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        place = torch.arange(x.shape[1], device=x.device)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=place.unsqueeze(0) > place.unsqueeze(1))  # expect: MHA106
        return self.merge(y)


class Inverted(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril(diagonal=0)
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=~past))  # expect: MHA106


class WithPadding(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        keep = (x.abs().sum(dim=-1) > 0)[:, None, None, :]
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=future & keep)  # expect: MHA106
        return self.merge(y)


class Layer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        size = x.shape[1]
        past = torch.tril(torch.ones(size, size, device=x.device)).bool()
        y, _ = self.attention(x, x, x, attn_mask=past, need_weights=False)  # expect: MHA106
        return self.norm(x + y)
