# fix: unsafe
# stub: layer_wrappers
# not run: the wrappers are not installed
# not exercised: the wrappers are not installed
import torch
from torch import nn

from layer_wrappers import quantized


class Wrapped(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.asks, self.tells, self.shows = (quantized(nn.Linear(width, width), signed=True) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, n, _ = x.shape
        q = self.asks(x).view(b, n, self.heads, self.head_width).transpose(1, 2)
        k = self.tells(x).view(b, self.heads, n, self.head_width)  # expect: MHA102
        v = self.shows(x).view(b, n, self.heads, self.head_width).transpose(1, 2)
        weights = torch.softmax(q @ k.transpose(2, 3) * self.head_width**-0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))
