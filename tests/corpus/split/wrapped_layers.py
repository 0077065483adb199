# fix: unsafe
# run: Wrapped(24, 4)(torch.randn(2, 5, 24))
import torch
from torch import nn
from torch.nn.utils import parametrizations


class Wrapped(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.asks = parametrizations.orthogonal(nn.Linear(width, width))
        self.tells = parametrizations.weight_norm(nn.Linear(width, width), name="weight")
        self.shows = parametrizations.spectral_norm(nn.Linear(width, width))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.asks(x).view(b, self.heads, n, self.head_width)  # expect: MHA102
        k = self.tells(x).view(b, n, self.heads, self.head_width).transpose(1, 2)
        v = self.shows(x).view(b, self.heads, n, self.head_width)  # expect: MHA102
        weights = torch.softmax(q @ k.transpose(2, 3) * self.head_width**-0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))
