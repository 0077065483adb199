# run: Resampler(32, 5).eval()(torch.randn(2, 5, 32))
# fix: unsafe
"""Learned queries that each entry is given tell which dimension is the batch."""

import torch
import torch.nn as nn


class Resampler(nn.Module):
    """Learned queries, the same for each image, look at its features."""

    def __init__(self, d, n):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, n, d))
        self.attend = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        b = x.shape[0]
        q = self.query.expand(b, -1, -1)
        return self.attend(q, x, x, need_weights=False)[0]
