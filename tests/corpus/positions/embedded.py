# run: Embedded(7, 32)(torch.randn(2, 5, 7))
# fix: unsafe
"""What is given is embedded under the name that it has, and arguments of all layers stand in one dictionary."""

import torch
import torch.nn as nn


class Embedded(nn.Module):
    def __init__(self, n, d, device=None, dtype=None):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.pos = nn.Parameter(torch.randn(9 + n, 1, d, **factory))
        self.embed = nn.Linear(n, d, **factory)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)

    def forward(self, x):
        x = self.embed(x)
        y = x + self.pos[: x.size(0)]  # expect: MHA116
        return self.attn(y, y, y)[0]
