# run: Forecast(3, 32).eval()(torch.randn(2, 7, 3))
# fix: unsafe
"""The encoding of PyTorch's tutorial, written for (t, b, c), in a model of (b, t, c)."""

import math

import torch
import torch.nn as nn


class PositionalEncoding(nn.Module):
    """As in the tutorial."""

    def __init__(self, d, dropout=0.1, longest=500):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        position = torch.arange(longest).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        pe = torch.zeros(longest, 1, d)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(0)]  # expect: MHA116
        return self.dropout(x)


class Older(nn.Module):
    def __init__(self, d, longest=500):
        super().__init__()
        pe = torch.zeros(longest, d)
        position = torch.arange(0, longest, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d, 2).float() * (-math.log(10000.0) / d))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        pe = pe.unsqueeze(0).transpose(0, 1)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(0), :]  # expect: MHA116
        return x


class Forecast(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.inp = nn.Linear(i, d)
        self.pe = PositionalEncoding(d)
        self.older = Older(d)
        layer = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(d, 1)

    def forward(self, src):
        x = self.pe(self.inp(src))
        x = self.older(x)
        x = self.enc(x)
        return self.out(x[:, -1])
