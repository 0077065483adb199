# fix: unsafe
# run: Pixels(12, 3)(torch.randn(2, 12, 3, 5))
# run: OverRows(12)(torch.randn(2, 12, 3, 5))
# run: Maps(12, 8)(torch.randn(2, 12, 3, 5))
# run: Behind(12, 3)(torch.randn(2, 12, 3, 5))
"""Images whose channels become the features of tokens, or the reverse, by a view."""
import torch
import torch.nn.functional as F
from torch import nn


class Pixels(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = x.reshape(b, h * w, c)  # expect: MHA121
        tokens, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return tokens.transpose(1, 2).reshape(b, c, h, w)


class OverRows(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        x = self.conv(x)
        b, c, h, w = x.size()
        rows = torch.reshape(x, (b, h, w, c)).flatten(1, 2)  # expect: MHA121
        rows = F.scaled_dot_product_attention(rows, rows, rows)
        return self.out(rows)


class Maps(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.query(x).flatten(2).transpose(1, 2)
        k = self.key(x).view(b, h * w, -1)  # expect: MHA121
        v = self.value(x).flatten(2).transpose(1, 2)
        weights = torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5, dim=-1)
        return x + (weights @ v).transpose(1, 2).reshape(b, c, h, w)


class Behind(nn.Module):
    """The tokens go back to an image without a transpose."""

    def __init__(self, channels, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        scores = torch.softmax(tokens @ tokens.transpose(1, 2) * c**-0.5, dim=-1)
        y = torch.bmm(scores, tokens)
        return x + y.view(b, c, h, w)  # expect: MHA121
