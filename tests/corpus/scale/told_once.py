# run: Grouped(8, 4, 2)(torch.randn(2, 5, 8))
# run: Grouped(8, 2, 2)(torch.randn(2, 5, 8))
# fix: none (the second factor stands in another function, and it is not the only product there)
"""A function that scales twice has a product for groups and one without: its caller is told once."""

import torch
from einops import einsum, rearrange
from torch import nn


def attend(query, key, value, scale=None):
    query, key, value = (rearrange(each, "b n h d -> b h n d") for each in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    if scale is None:
        scale = query.size(-1) ** 0.5
    query = query / scale
    if groups > 1:
        query = rearrange(query, "b (h g) n d -> b g h n d", g=groups)
        scores = einsum(query, key, "b g h n d, b h s d -> b h n s")
    else:
        scores = einsum(query, key, "b h n d, b h s d -> b h n s")
    weights = torch.softmax(scores / scale, dim=-1)
    return rearrange(einsum(weights, value, "b h n s, b h s d -> b h n d"), "b h n d -> b n (h d)")


class Grouped(nn.Module):
    def __init__(self, width, heads, groups):
        super().__init__()
        self.heads, self.groups = heads, groups
        narrow = width // heads * groups
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, narrow)
        self.v_proj, self.out_proj = nn.Linear(width, narrow), nn.Linear(narrow, width)

    def forward(self, x):
        q = rearrange(self.q_proj(x), "b n (h d) -> b n h d", h=self.heads)
        k = rearrange(self.k_proj(x), "b n (h d) -> b n h d", h=self.groups)
        v = rearrange(self.v_proj(x), "b n (h d) -> b n h d", h=self.groups)
        return self.out_proj(attend(q, k, v))  # expect: MHA104
