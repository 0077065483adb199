import torch
from einops import rearrange
from torch import einsum, nn


class BeforeIt(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x, **kwargs):
        return self.fn(self.norm(x), **kwargs)


class Heads(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64, dropout=0.0):
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.scale = dim**-0.5

        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, dim), nn.Dropout(dropout))

    def forward(self, x, mask=None):
        b, n, _, h = *x.shape, self.heads
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=h), qkv)

        dots = einsum("b h i d, b h j d -> b h i j", q, k) * self.scale  # expect: MHA104
        if mask is not None:
            dots = dots.masked_fill(~rearrange(mask, "b j -> b () () j"), -torch.finfo(dots.dtype).max)
        weights = dots.softmax(dim=-1)
        out = einsum("b h i j, b h j d -> b h i d", weights, v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class Patchwise(nn.Module):
    def __init__(self, *, dim, depth, heads, dim_head=64):
        super().__init__()
        self.layers = nn.ModuleList([BeforeIt(dim, Heads(dim, heads=heads, dim_head=dim_head)) for _ in range(depth)])

    def forward(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask=mask) + x
        return x
