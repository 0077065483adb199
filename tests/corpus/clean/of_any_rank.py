# run: Projected(24, 4)(torch.randn(2, 5, 24))
# run: Weights(24, 4)(torch.randn(2, 5, 24))
# run: Fronted(24)(torch.randn(2, 5, 24))
import torch
from torch import nn
from torch.nn import functional as F


class Projected(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(-4, -2).unbind(-3)
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.out(seen.transpose(-3, -2).flatten(-2))


class Weights(nn.Module):
    """The features of a head stay a dimension of their own."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for t in self.qkv(x).chunk(3, dim=-1))
        return (torch.softmax(q @ k.mT * q.size(-1) ** -0.5, dim=-1) @ v).transpose(-3, -2)


class Fronted(nn.Module):
    """Two halves that come first, and are neither queries nor keys."""

    def __init__(self, width):
        super().__init__()
        self.both = nn.Linear(width, 2 * width)

    def forward(self, x):
        value, gate = self.both(x * 2).unflatten(-1, (2, -1)).movedim(-2, 0)
        return value * torch.sigmoid(gate)
