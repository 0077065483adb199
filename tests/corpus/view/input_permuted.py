# run: Tokens(16)(torch.randn(2, 16, 4, 6))
# run: Tokens(16, first=False)(torch.randn(2, 16, 4, 16))
import torch
from torch import nn


class Tokens(nn.Module):
    """An image made tokens: an input as it came is taken to be contiguous."""

    def __init__(self, channels, first=True):
        super().__init__()
        self.first = first
        self.proj = nn.Linear(channels, channels)

    def forward(self, x):
        b, c, h, w = x.shape
        if self.first:
            x = x.permute(0, 2, 3, 1).view(b, h * w, c)
        else:
            x = x.transpose(1, 2).view(b * h, c, w)  # expect: MHA001
            x = x.view(b, h, c, w).transpose(1, 2).view(b, c, h * w)  # expect: MHA001
            x = x.transpose(1, 2)
        return self.proj(x)
