# run: AxialAttention(24, 4)(torch.randn(2, 5, 6, 24))
"""Attention along the columns, then along the rows of a channels-last feature map."""
import torch
from torch import nn


class AxialAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.columns = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.rows = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        b, h, w, c = x.shape
        x = self.norm(x)

        cols = x.permute(0, 2, 1, 3).view(b * w, h, c)  # expect: MHA001
        cols, _ = self.columns(cols, cols, cols, need_weights=False)
        cols = cols.reshape(b, w, h, c).permute(0, 2, 1, 3)

        rows = x.view(b * h, w, c)
        rows, _ = self.rows(rows, rows, rows, need_weights=False)
        rows = rows.reshape(b, h, w, c)
        return rows + cols
