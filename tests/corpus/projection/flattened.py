# fix: unsafe
# run: CrossModalAttention(16, 12, heads=4)(torch.randn(2, 5, 16), torch.randn(2, 7, 12))
from __future__ import annotations

import torch
from torch import nn


class CrossModalAttention(nn.Module):  # expect: MHA003
    """Text looks at image regions."""

    def __init__(self, text_width: int, image_width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.head_width = text_width // heads
        self.text = nn.Linear(text_width, text_width)
        self.image_keys = nn.Linear(image_width, text_width)
        self.image_values = nn.Linear(image_width, text_width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)

    def forward(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        q = self.split(self.text(text))
        k = self.split(self.image_keys(image))
        v = self.split(self.image_values(image))
        context = nn.functional.scaled_dot_product_attention(q, k, v)
        return context.transpose(1, 2).flatten(2)
