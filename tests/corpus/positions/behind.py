# run: Whole(7, 32)(torch.randn(2, 3, 16, 16))
# fix: unsafe
"""The table is cut to the batch, and becomes (n, 1, c) behind that."""

import torch
import torch.nn as nn


class Whole(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(16 + n, d))
        self.conv = nn.Conv2d(3, d, 4, 4)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = x + self.pos[: x.size(0)].unsqueeze(1)  # expect: MHA116
        return self.attn(x, x, x, need_weights=False)[0]
