# run: [cls(16)(torch.randn(2, 6, 16)) for cls in (Joined, Named, Divided, Added)]
"""Casts to the type of the activations in other forms, of angles that are joined, divided and added before cosines."""

import math

import torch
from torch import nn


class Joined(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        b, t, c = x.shape
        f = 1.0 / (10000.0 ** (torch.arange(0, c // 2, 2, device=x.device).float() / (c // 2)))
        rows = torch.outer(torch.arange(t, device=x.device), f.to(dtype=x.dtype))  # expect: MHA120
        columns = torch.outer(torch.arange(t, device=x.device), f.float())
        angles = torch.cat([rows, columns], dim=-1).reshape(t, -1)
        return x + torch.cat((angles.cos(), angles.sin()), dim=-1).to(x.dtype)


class Named(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inv_freq = 1.0 / (10000.0 ** (torch.arange(0, width, 2).float() / width))

    def forward(self, x):
        inv_freq = getattr(self, "inv_freq")
        positions = torch.arange(x.shape[1]).to(x.device, x.dtype)  # expect: MHA120
        angles = positions[:, None] * inv_freq
        return x + torch.cat((angles.cos().to(x.dtype), angles.sin().to(x.dtype)), dim=-1)


class Divided(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        wavelengths = 10000.0 ** (torch.arange(0, self.width, 2, device=x.device).float() / self.width)
        angles = torch.arange(x.shape[1], device=x.device)[:, None] / wavelengths.type_as(x)  # expect: MHA120
        return x + torch.cat((angles.cos(), angles.sin()), dim=-1)


class Added(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        table = torch.zeros(x.shape[1], self.width, device=x.device, dtype=x.dtype)
        position = torch.arange(0, x.shape[1], device=x.device).unsqueeze(1)
        steps = torch.arange(0, self.width, 2, device=x.device, dtype=torch.float32)
        div_term = torch.exp(steps * -(math.log(10000.0) / self.width))
        table[:, 0::2] = torch.sin(position * div_term.to(x.dtype))  # expect: MHA120
        table[:, 1::2] = torch.cos(position * div_term)
        return x + table
