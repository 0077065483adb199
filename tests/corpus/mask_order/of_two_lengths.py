# fix: unsafe
# run: Attention(12, 3)(torch.randn(2, 5, 12), None, torch.ones(2, 5, 5).bool())
# run: Attention(12, 3)(torch.randn(2, 5, 12), torch.randn(2, 7, 12), torch.ones(2, 5, 7).bool())
"""Tokens attend to themselves, or to a context, whose length the mask has."""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.heads, self.out = heads, nn.Linear(width, width)

    def forward(self, x, context=None, mask=None):
        context = x if context is None else context
        b, t, c = x.shape
        d = c // self.heads
        q = self.query(x).view(b, t, self.heads, d).transpose(1, 2).reshape(b * self.heads, t, d)
        k, v = self.key_value(context).chunk(2, dim=-1)
        k = k.view(b, -1, self.heads, d).transpose(1, 2).reshape(b * self.heads, -1, d)
        v = v.view(b, -1, self.heads, d).transpose(1, 2).reshape(b * self.heads, -1, d)
        scores = q @ k.transpose(1, 2) * d**-0.5
        if mask is not None:
            scores = scores.masked_fill(~mask.repeat(self.heads, 1, 1), float("-inf"))  # expect: MHA118
        y = (scores.softmax(dim=-1) @ v).view(b, self.heads, t, d).transpose(1, 2)
        return self.out(y.reshape(b, t, c))
