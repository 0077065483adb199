# run: [cls(16)(torch.randn(2, 6, 16)) for cls in (Frequencies, Positions, Steps)]
"""A factor of the angles is cast to the type of the activations before it is multiplied."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        cos, sin = self.table(q)
        return F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v)

    def rotate(self, x, cos, sin):
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class Frequencies(Attention):
    def table(self, q):
        f = 1.0 / (10000 ** (torch.arange(0, self.width, 2, device=q.device) / self.width))
        angles = torch.outer(torch.arange(q.shape[1], device=q.device), f.to(q.dtype))  # expect: MHA120
        return angles.cos(), angles.sin()


class Positions(Attention):
    def table(self, q):
        f = 10000 ** (-torch.arange(0, self.width, 2, device=q.device).type_as(q) / self.width)  # expect: MHA120
        positions = torch.arange(q.shape[1], device=q.device).type_as(q)
        angles = positions[:, None] * f
        return torch.cos(angles), torch.sin(angles)


class Steps(Attention):
    def table(self, q):
        steps = torch.arange(0, self.width, 2, device=q.device, dtype=q.dtype) / self.width  # expect: MHA120
        positions = torch.arange(q.shape[1], device=q.device, dtype=q.dtype)
        angles = torch.einsum("i,j->ij", positions, torch.pow(10000.0, -steps))
        return angles.cos(), angles.sin()
