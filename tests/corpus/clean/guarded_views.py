# run: ChecksLayout(16, 4)(torch.randn(2, 5, 16))
# run: SameFlagTwice(16, 4)(torch.randn(2, 5, 16))
# run: SameFlagTwice(16, 4, fused=True)(torch.randn(2, 5, 16))
"""Transposed tensors whose views are guarded: the failing path is never taken."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class ChecksLayout(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v
        y = y.transpose(1, 2)
        if not y.is_contiguous():
            y = y.contiguous()
        return self.o(y.view(b, t, c))


class SameFlagTwice(ChecksLayout):
    def __init__(self, dim, heads, fused=False):
        super().__init__(dim, heads)
        self.fused = fused

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()
        else:
            y = (torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v).transpose(1, 2)
        if self.fused:
            y = y.view(b, t, c)
        else:
            y = y.reshape(b, t, c)
        return self.o(y)
