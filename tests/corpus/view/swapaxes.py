# run: Attn(24, 4)(torch.randn(2, 5, 24))
# run: AttnMoved(24, 4)(torch.randn(2, 5, 24))
"""NumPy's names for the same thing."""
import torch
from torch import nn as nn


class Attn(nn.Module):
    def __init__(self, n_features: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.n_per_head = n_features // n_heads
        self.q = nn.Linear(n_features, n_features)
        self.k = nn.Linear(n_features, n_features)
        self.v = nn.Linear(n_features, n_features)
        self.o = nn.Linear(n_features, n_features)

    def heads(self, y):
        return y.view(y.shape[0], y.shape[1], self.n_heads, self.n_per_head).swapaxes(1, 2)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        w = (q @ k.swapaxes(2, 3) / self.n_per_head**0.5).softmax(3)
        y = (w @ v).swapaxes(1, 2).view(b, t, c)  # expect: MHA001
        return self.o(y)


class AttnMoved(Attn):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        w = (q @ k.swapdims(2, 3) / self.n_per_head**0.5).softmax(3)
        y = torch.matmul(w, v)
        y = y.movedim(1, 2)
        return self.o(y.view(b, t, c))  # expect: MHA001
