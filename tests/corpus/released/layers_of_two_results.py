# not run: the layers come from a package that does not exist
"""Layers of other packages that give their bias beside their result, as parallel ones do."""

import torch.nn.functional as F
from parallel.layers import ColumnLinear, PackedLinear, RowLinear
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv_proj = PackedLinear(width, 3 * width)
        self.out_proj = RowLinear(width, width)
        self.heads, self.head_width = heads, width // heads

    def forward(self, x):
        batch, length, _ = x.shape
        qkv, _ = self.qkv_proj(x)
        q, k, v = qkv.chunk(3, dim=-1)
        q = q.view(batch, length, self.heads, self.head_width).transpose(1, 2)
        k = k.view(batch, length, self.heads, self.head_width).transpose(1, 2)
        v = v.view(batch, length, self.heads, self.head_width).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v)
        y, _ = self.out_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return y


class Apart(nn.Module):
    def __init__(self, width, head_width):
        super().__init__()
        self.q_proj, self.k_proj = ColumnLinear(width, width), ColumnLinear(width, width)
        self.v_proj, self.out_proj = ColumnLinear(width, width), RowLinear(width, width)
        self.head_width = head_width

    def forward(self, x):
        batch, length, _ = x.shape
        q, _ = self.q_proj(x)
        k, _ = self.k_proj(x)
        v, _ = self.v_proj(x)
        q = q.view(batch, length, -1, self.head_width).transpose(1, 2)
        k = k.view(batch, length, -1, self.head_width).transpose(1, 2)
        v = v.view(batch, length, -1, self.head_width).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v)
        y, _ = self.out_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return y
