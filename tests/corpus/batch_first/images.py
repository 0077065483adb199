# run: Vit(32, 4, 2, 4).eval()(torch.randn(2, 3, 8, 8))
# run: Einops(32).eval()(torch.randn(2, 32, 3, 5))
# fix: unsafe
"""Patches and pixels, (b, h*w, c), meet layers that take (t, b, c)."""

import torch
import torch.nn as nn
from einops import rearrange


class Vit(nn.Module):
    def __init__(self, d, heads, depth, patch=16):
        super().__init__()
        self.patch = nn.Conv2d(3, d, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d_model=d, nhead=heads),  # expect: MHA117
            depth,
        )
        self.head = nn.Linear(d, 10)

    def forward(self, img):
        x = self.patch(img).flatten(2).transpose(1, 2)
        cls = self.cls.expand(x.shape[0], -1, -1)
        x = torch.cat((cls, x), dim=1)
        x = self.encoder(x)
        return self.head(x[:, 1:].mean(dim=1))


class Einops(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        b, c, h, w = x.shape
        y = rearrange(x, "b c h w -> b (h w) c")
        y = self.attn(y, y, y, need_weights=False)[0]
        return rearrange(y, "b (h w) c -> b c h w", h=h)
