# run: Rotated(32, 4)(torch.randn(2, 5, 32), torch.randn(5, 4), torch.randn(5, 4))
# fix: unsafe
"""Queries and keys that come back from a rotation which puts them together part by part."""
import torch
from torch import nn


def apply_axial_rope(x, cos, sin, axes=2):
    parts = torch.split(x, [x.shape[-1] // axes] * axes, dim=-1)
    turned = [part * cos[:, None] + part.flip(-1) * sin[:, None] for part in parts]
    return torch.cat(turned, dim=-1)


class Rotated(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q = apply_axial_rope(self.q_proj(x).view(b, t, self.heads, self.head_dim), cos, sin).transpose(1, 2)
        k = apply_axial_rope(self.k_proj(x).view(b, t, self.heads, self.head_dim), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(dim=-1)
        y = (weights @ v).reshape(b, t, c)  # expect: MHA101
        return self.o_proj(y)
