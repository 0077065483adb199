# run: Merge(4)(torch.randn(2, 5, 4, 6))
# run: Shuffle(3)(torch.randn(2, 12, 4, 4))
# run: Flatten()(torch.randn(2, 3, 4, 4))
"""Views of what the caller gave: nothing here says how it lies in memory."""
import torch
from torch import nn


class Merge(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, context):
        b, t, h, d = context.shape
        return context.view(b, t, h * d)


class Shuffle(nn.Module):
    """Channel shuffle, as in group convolutions."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        b, c, h, w = x.shape
        x = x.view(b, self.groups, c // self.groups, h, w)
        return x.transpose(1, 2).contiguous().view(b, c, h, w)


class Flatten(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)
