# run: Chunked(24, 4)(torch.randn(2, 5, 24))
# run: Mapped(24, 4)(torch.randn(2, 5, 24))
# run: Grouped(24, 4, 2)(torch.randn(2, 5, 24))
"""q, k and v that come out of chunk and split, and tuples that are unpacked: no unbind anywhere."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange


class Chunked(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class Mapped(Chunked):
    def forward(self, x):
        qkv = self.qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=self.heads), qkv)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(out, "b h n d -> b n (h d)"))


class Grouped(nn.Module):
    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.d = heads, kv_heads, dim // heads
        self.qkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.d)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        sizes = [self.heads * self.d, self.kv_heads * self.d, self.kv_heads * self.d]
        qkv = self.qkv(x).split(sizes, dim=2)
        q, k, v = qkv
        q = q.view(b, t, self.heads, self.d).transpose(1, 2)
        k = k.view(b, t, self.kv_heads, self.d).transpose(1, 2).repeat_interleave(self.heads // self.kv_heads, 1)
        v = v.view(b, t, self.kv_heads, self.d).transpose(1, 2).repeat_interleave(self.heads // self.kv_heads, 1)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))
