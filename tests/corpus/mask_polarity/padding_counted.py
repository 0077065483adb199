# run: Counted(32, 4)(torch.randn(2, 5, 32), torch.tensor([5, 3]))
# fix: unsafe
"""Padding masks by lengths."""
import torch
from torch import nn


class Counted(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x, lengths):
        keep = torch.arange(x.size(1), device=x.device)[None, :] < lengths[:, None]
        y, _ = self.attend(x, x, x, keep, need_weights=False)  # expect: MHA106
        return y
