# run: Fields(4, 32).eval()(torch.randn(2, 4, 32))
# run: Pooled(32).eval()(torch.randn(2, 1, 32))
# run: Folded(32).eval()(torch.randn(2, 3, 5, 32))
# run: Mixed(32).eval()(torch.randn(2, 7, 32))
# fix: unsafe
"""What is done with tokens elsewhere tells which dimension is theirs."""

import torch
import torch.nn as nn


class Fields(nn.Module):
    """All fields of an entry become one vector."""

    def __init__(self, fields, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117
        self.out = nn.Linear(fields * d, 1)

    def forward(self, x):
        batch_size = x.size(0)
        y, _ = self.attn(x, x, x, need_weights=False)
        return self.out(y.reshape(batch_size, -1))


class Attend(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x, y):
        return self.attn(x, y, y, need_weights=False)[0]


class Pooled(nn.Module):
    """It only holds what attends, and gives it queries of its own."""

    def __init__(self, d):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, d))
        self.pool = Attend(d)

    def forward(self, x):
        return self.pool(self.probe.expand(x.size(0), -1, -1), x)


class Folded(nn.Module):
    """Each step of each entry is an entry."""

    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        b, t, n, c = x.shape
        y = x.reshape(b * t, n, c)
        y = self.attn(y, y, y, need_weights=False)[0]
        return y.mean(dim=1).view(b, t, c)


class Mixed(nn.Module):
    """Attention of its own looks along the other dimension."""

    def __init__(self, d):
        super().__init__()
        self.q, self.k = nn.Linear(d, d), nn.Linear(d, d)
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        b, t, c = x.shape
        scores = self.q(x) @ self.k(x).transpose(1, 2) * c**-0.5
        x = scores.softmax(dim=-1) @ x
        return self.attn(x, x, x, need_weights=False)[0]
