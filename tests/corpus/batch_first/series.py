# run: Lstm(6, 32).eval()(torch.randn(2, 7, 6))
# run: Conv(6, 32).eval()(torch.randn(2, 6, 7))
# run: Mixed(32).eval()(torch.randn(2, 7, 32))
# fix: unsafe
"""What other layers of torch are given, or give, tells that the batch comes first."""

import torch
import torch.nn as nn


class Lstm(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.lstm = nn.LSTM(i, d, batch_first=True)
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117
        self.fc = nn.Linear(d, 1)

    def forward(self, x):
        h, _ = self.lstm(x)
        y, _ = self.attn(h, h, h, need_weights=False)
        return self.fc(y[:, -1])


class Conv(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.conv = nn.Conv1d(i, d, 3, padding=1)
        self.attn = nn.MultiheadAttention(d, 4, dropout=0.1)  # expect: MHA117
        self.norm = nn.LayerNorm(d)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 1)
        x = self.norm(x + self.attn(x, x, x, need_weights=False)[0])
        return x.mean(1)


class Mixed(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.again = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        b, t, _ = x.shape
        x = x + self.self_attn(x, x, x, need_weights=False)[0]
        return x + self.again(x, x, x, need_weights=False)[0]
