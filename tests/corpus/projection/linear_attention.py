# fix: unsafe
# run: EfficientAttention(32, 4)(torch.randn(2, 6, 32))
import torch
from torch import nn


class EfficientAttention(nn.Module):  # expect: MHA003
    """softmax(q) (softmax(k)^T v): never builds the n x n matrix."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        q = q.reshape(b, n, self.heads, c // self.heads).transpose(1, 2).softmax(dim=-1)
        k = k.reshape(b, n, self.heads, c // self.heads).transpose(1, 2).softmax(dim=-2)
        v = v.reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
        context = k.transpose(-2, -1) @ v
        out = q @ context
        return out.transpose(1, 2).reshape(b, n, c)
