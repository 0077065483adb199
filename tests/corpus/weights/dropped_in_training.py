# run: CrossAttention(32)(torch.randn(2, 5, 32), torch.randn(2, 7, 32))
# fix: unsafe
import torch
from torch import nn


class CrossAttention(nn.Module):
    """The layer drops weights: on a GPU the fused kernels draw other random numbers."""

    def __init__(self, dim, heads=4, dropout=0.1):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)

    def forward(self, x, memory):
        both = self.attend(x, memory, memory)  # expect: MHA202
        return self.norm(x + both[0])
