# run: Attention(24, 3)(torch.randn(2, 5, 24))
# select: MHA005
import torch
import torch.nn as nn


class Attention(nn.Module):
    """With MHA005 the copy stays visible, and the reshape of a contiguous tensor becomes a view."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).unbind(2)
        att = torch.einsum("bthd,bshd->bhts", q, k / q.shape[-1] ** 0.5).softmax(-1)
        y = (att @ v.transpose(1, 2)).transpose(1, 2).contiguous().reshape(b, t, c)  # expect: MHA004
        return self.proj(y)
