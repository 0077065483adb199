# run: Watched(32)(torch.randn(5, 2, 32))
import torch
from torch import nn


class Watched(nn.Module):
    """A hook reads the weights that forward leaves aside."""

    def __init__(self, dim):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, 4)
        self.maps = []
        self.attend.register_forward_hook(lambda module, given, result: self.maps.append(result[1].detach()))

    def forward(self, x):
        y, _ = self.attend(x, x, x)
        return x + y
