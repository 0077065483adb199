# run: [cls(16)(torch.randn(2, 6, 16)) for cls in (Table, Counted)]
# fix: unsafe
"""Factors of angles are cast to half precision whatever the module computes in, in a constructor and in forward."""

import math

import torch
from torch import nn


class Table(nn.Module):
    def __init__(self, width, max_len=512):
        super().__init__()
        table = torch.zeros(max_len, width)
        div_term = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width)).half()  # expect: MHA120
        angles = torch.arange(max_len).unsqueeze(1) * div_term
        table[:, 0::2] = torch.sin(angles)
        table[:, 1::2] = torch.cos(angles)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x):
        return x + self.table[: x.shape[1]].to(x.dtype)


class Counted(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        t, d = x.shape[-2:]
        inv_freq = 10000.0 ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        positions = torch.arange(t, device=x.device, dtype=torch.bfloat16)  # expect: MHA120
        angles = torch.outer(positions, inv_freq)
        return x + torch.cat((angles.cos(), angles.sin()), dim=-1).to(x.dtype)
