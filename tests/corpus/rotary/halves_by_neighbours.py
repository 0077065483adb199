# run: [cls(32, 4)(torch.randn(2, 5, 32)) for cls in (Sliced, Rearranged, Viewed)]
# fix: unsafe
"""The angles are laid out by halves, and vectors are rotated by neighbours."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("inv_freq", 1.0 / 10000.0 ** (torch.arange(0, self.d, 2).float() / self.d))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, self.heads, 3 * self.d).transpose(1, 2).chunk(3, dim=-1)
        freqs = torch.outer(torch.arange(t, device=x.device).float(), self.inv_freq)
        y = F.scaled_dot_product_attention(self.rotate(q, freqs), self.rotate(k, freqs), v)
        return self.out(y.transpose(1, 2).flatten(2))


class Sliced(Attention):
    def rotate(self, x, freqs):
        angles = torch.cat((freqs, freqs), dim=-1)[None, None]
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)  # expect: MHA119
        return x * angles.cos() + turned * angles.sin()


class Rearranged(Attention):
    def rotate(self, x, freqs):
        freqs = repeat(freqs, "n f -> n (r f)", r=2)
        one, two = rearrange(x, "... (d r) -> ... d r", r=2).unbind(dim=-1)
        turned = rearrange(torch.stack((-two, one), dim=-1), "... d r -> ... (d r)")  # expect: MHA119
        return (x.float() * freqs.cos() + turned.float() * freqs.sin()).type_as(x)


class Viewed(Attention):
    def rotate(self, x, freqs):
        cos, sin = freqs.cos().repeat(1, 2), freqs.sin().repeat(1, 2)
        pairs = x.reshape(*x.shape[:-1], -1, 2)
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).view_as(x)  # expect: MHA119
        return torch.add(x * cos, turned * sin)
