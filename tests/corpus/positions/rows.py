# run: Learnt(3, 32)(torch.randn(2, 3, 7))
# run: Direct(3, 32)(torch.randn(2, 7, 3))
# fix: unsafe
"""Tables that are cut to the size of the batch where they are added."""

import torch
import torch.nn as nn


class Learnt(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.pe = nn.Parameter(torch.randn(512, 1, d))
        self.conv = nn.Conv1d(i, d, 3, padding=1)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        x = x + self.pe[: len(x)]  # expect: MHA116
        return x.mean(dim=1)


class Direct(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.register_buffer("pe", torch.randn(512, 1, d))
        self.inp = nn.Linear(i, d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)

    def forward(self, x):
        x = self.inp(x)
        x += self.pe[: x.shape[0]]  # expect: MHA116
        return self.attn(x, x, x, need_weights=False)[0]
