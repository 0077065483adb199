# run: Lower(32, 4)(torch.randn(2, 5, 32))
# run: Future(32, 4)(torch.randn(2, 5, 32))
# run: OfItsType(32, 4)(torch.randn(2, 5, 32))
# run: Buffer(32, 4)(torch.randn(2, 5, 32))
# run: Layer(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Causal masks of zeros and ones that are added to the scores."""
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


class Lower(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        mask = torch.tril(torch.ones(x.shape[1], x.shape[1], device=x.device))
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))  # expect: MHA113


class Future(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        future = 1 - torch.tril(torch.ones(x.shape[1], x.shape[1], device=x.device))
        return self.merge(F.scaled_dot_product_attention(q, k, v, future))  # expect: MHA113


class OfItsType(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=past.to(q.dtype),  # the kernel wants its own type  # expect: MHA113
        )
        return self.merge(y)


class Buffer(Base):
    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        mask = torch.tril(torch.ones((longest, longest)))
        self.register_buffer("mask", mask[None, None], persistent=False)

    def forward(self, x):
        q, k, v = self.split(x)
        t = x.shape[1]
        return self.merge(F.scaled_dot_product_attention(q, k, v, self.mask[:, :, :t, :t]))  # expect: MHA113


class Layer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        future = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=x.dtype, device=x.device), diagonal=1)
        y, _ = self.attention(x, x, x, attn_mask=future, need_weights=False)  # expect: MHA113
        return y
