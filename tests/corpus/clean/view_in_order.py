# run: Either(12, last=True)(torch.randn(2, 3, 5, 12))
# run: Either(12, last=False)(torch.randn(2, 12, 3, 5))
# run: Shifted(4, 5)(torch.randn(2, 3, 5, 4))
# run: Strided(12)(torch.randn(2, 12, 4, 6))
"""Views that keep the order, or of which only some of the ways to build a class tell the sizes."""
import torch
import torch.nn.functional as F
from torch import nn


class Either(nn.Module):
    """Images with channels last are viewed, others are moved first."""

    def __init__(self, channels, last=False, width=None, norm=False, gate=False, drop=None):
        super().__init__()
        width = width or channels
        self.last = last
        self.q = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(channels) if norm else nn.Identity()
        self.gate = nn.Linear(width, width) if gate else nn.Identity()
        self.drop = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x):
        if self.last:
            b, h, w, c = x.shape
        else:
            b, c, h, w = x.shape
            x = x.permute(0, 2, 3, 1)
        rows = self.q(self.norm(x.reshape(b, h * w, c)))
        return self.drop(self.gate(F.scaled_dot_product_attention(rows, rows, rows)))


class Shifted(nn.Module):
    """Relative positions: a view of one column more shifts the rows."""

    def __init__(self, width, tokens):
        super().__init__()
        self.distances = nn.Parameter(torch.randn(width, 2 * tokens - 1))

    def forward(self, q):
        b, heads, t, d = q.shape
        logits = torch.cat([q @ self.distances, q.new_zeros(b, heads, t, 1)], dim=-1)
        logits = logits.view(b, heads, 2 * t, t)[:, :, 1 : t + 1]
        return (q @ q.mT + logits).softmax(dim=-1) @ q


class Strided(nn.Module):
    """A convolution with a stride gives a smaller image."""

    def __init__(self, channels):
        super().__init__()
        self.value = nn.Conv2d(channels, 4 * channels, 3, stride=2, padding=1)

    def forward(self, x):
        b, c, h, w = x.shape
        v = self.value(x).reshape(b, c, h * w).transpose(1, 2)
        q = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, v)
