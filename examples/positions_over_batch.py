"""A forecast of time series, whose positions number the series and not their days."""

import math

import torch
import torch.nn as nn


class PositionalEncoding(nn.Module):
    """Sines and cosines (longest, 1, c), cut to the first dimension of what they are added to."""

    def __init__(self, dim: int, longest: int = 500):
        super().__init__()
        position = torch.arange(longest).unsqueeze(1)
        rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        table = torch.zeros(longest, 1, dim)
        table[:, 0, 0::2] = torch.sin(position * rate)
        table[:, 0, 1::2] = torch.cos(position * rate)
        self.register_buffer("table", table)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table[: x.size(0)]


class Forecast(nn.Module):
    """Series (b, t, i) in, one number a series out."""

    def __init__(self, inputs: int, dim: int = 32, num_heads: int = 4):
        super().__init__()
        self.embed = nn.Linear(inputs, dim)
        self.positions = PositionalEncoding(dim)
        layer = nn.TransformerEncoderLayer(dim, num_heads, 2 * dim, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(dim, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        x = self.positions(self.embed(series))
        return self.head(self.encoder(x)[:, -1])
