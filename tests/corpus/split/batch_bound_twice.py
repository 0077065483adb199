# fix: unsafe
# run: Pooled(24, 4, 6)(torch.randn(2, 6, 3, 5), torch.randn(2, 7, 24))
"""The batch of the image is that of the tokens."""
import torch
from torch import nn


class Pooled(nn.Module):
    def __init__(self, width, heads, channels):
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, heads * channels), nn.Linear(heads * channels, width)

    def forward(self, image, tokens):
        bsz, n, _ = tokens.shape
        bsz, channels, rows, columns = image.shape
        keys = image.flatten(2).mT.reshape(bsz, 1, rows * columns, channels)
        q = self.query(tokens).view(bsz, self.heads, n, channels)  # expect: MHA102
        weights = torch.softmax(q @ keys.mT * channels**-0.5, dim=-1)
        return tokens + self.out((weights @ keys).transpose(1, 2).flatten(2))
