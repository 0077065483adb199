# run: [cls(16)(torch.randn(2, 6, 16)) for cls in (Upcast, Positions, Kept, Complex, Autocast, Boxes, Slopes)]
# run: Handed(16)(torch.arange(6.0))
# run: TablesOfTheConstructor(16)(torch.randn(2, 6, 16))
"""Angles that are computed in float32, or of which nobody knows in what."""

import torch
from torch import nn


class Table(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, width, 2).float() / width)))


class Upcast(Table):
    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device).type_as(self.inv_freq)
        angles = torch.outer(positions.float(), self.inv_freq.float())
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Positions(Table):
    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        angles = positions[:, None] * self.inv_freq.to(device=x.device, dtype=torch.float)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Kept(nn.Module):
    def __init__(self, width, longest=64):
        super().__init__()
        angles = torch.outer(torch.arange(longest), 10000 ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x):
        return self.cos[: x.shape[1]].to(x.dtype), self.sin[: x.shape[1]].to(x.dtype)


class Complex(nn.Module):
    def __init__(self, width, longest=64):
        super().__init__()
        angles = torch.outer(torch.arange(longest), 10000 ** (-torch.arange(0, width, 2) / width))
        self.turns = torch.polar(torch.ones_like(angles), angles)

    def forward(self, x):
        return torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * self.turns[: x.shape[1]]


class Autocast(Table):
    @torch.autocast("cuda", enabled=False)
    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device).type_as(self.inv_freq)
        angles = torch.einsum("i,j->ij", positions, self.inv_freq)
        return angles.cos(), angles.sin()


class Handed(Table):
    """The frequencies are brought to the type of the positions, whatever that is."""

    def forward(self, positions):
        angles = positions[:, None].float() * self.inv_freq.type_as(positions)
        return angles.cos(), angles.sin()


class Boxes(nn.Module):
    """Coordinates and frequencies are in the type of the coordinates."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, box):
        f = 100 ** (torch.arange(self.width) / self.width)
        angles = f[None, None, None].to(device=box.device, dtype=box.dtype) * box.unsqueeze(-1)
        return torch.stack((angles.sin(), angles.cos()), dim=-1)


class Slopes(nn.Module):
    """Powers of a base times positions, as a bias: no angles."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x):
        slopes = 2 ** (-torch.arange(1, self.heads + 1, device=x.device) * 8 / self.heads)
        return slopes.to(x.dtype)[:, None] * torch.arange(x.shape[1], device=x.device)


class TablesOfTheConstructor(nn.Module):
    """A buffer is read before anything can have cast its module."""

    def __init__(self, dim):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, dim, 2).float() / dim)))
        positions = torch.arange(512, dtype=self.inv_freq.dtype)
        angles = torch.outer(positions, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.build(2048)

    def build(self, n):
        positions = torch.arange(n, device=self.inv_freq.device).type_as(self.inv_freq)
        angles = torch.einsum("i,j->ij", positions, self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x):
        half = x.shape[-1] // 2
        t = x.shape[-2]
        return x * self.cos[:t] + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * self.sin[:t]
