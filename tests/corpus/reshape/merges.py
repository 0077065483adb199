# run: Attention(24, 3)(torch.randn(2, 5, 24))
# select: MHA005
import torch
import torch.nn as nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, self.width).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q = q.reshape(b * self.heads, t, self.width)  # expect: MHA005
        k = k.reshape(b * self.heads, t, self.width)  # expect: MHA005
        v = v.reshape(b * self.heads, t, self.width)  # expect: MHA005
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1), v)
        y = y.reshape(b, self.heads, t, self.width)
        y = (
            y.transpose(1, 2)
            .reshape(b, t, c)  # expect: MHA005
        )
        return self.proj(y)
