# run: [cls(16)(torch.randn(2, 6, 16)) for cls in (Cast, Whole)]
# fix: none (what the cast of a buffer has rounded can't be brought back)
"""Positions are multiplied by frequencies in a buffer, which is half precision once the module is."""

import torch
from torch import nn


class Table(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))


class Cast(Table):
    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device).type_as(self.inv_freq)
        angles = torch.einsum("i,j->ij", positions, self.inv_freq)  # expect: MHA120
        return torch.cat((angles, angles), dim=-1).cos().to(x.dtype)


class Whole(Table):
    def forward(self, x):
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.inv_freq  # expect: MHA120
        return torch.stack((angles.cos(), angles.sin()), dim=-1)
