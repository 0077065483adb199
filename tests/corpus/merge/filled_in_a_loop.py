# fix: unsafe
# run: Listed(24, 4)(torch.randn(2, 5, 24))
# run: Allocated(24, 4)(torch.randn(2, 5, 24))
"""A head at a time, into a list or a tensor that was made before."""
import torch
from torch import nn


class Listed(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = (f(x).view(b, n, self.heads, self.head_width).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = [None] * self.heads
        for head in range(self.heads):
            scores = q[:, head] @ k[:, head].transpose(1, 2) * self.head_width**-0.5
            seen[head] = scores.softmax(-1) @ v[:, head]
        seen = torch.stack(seen, dim=1)
        return self.out(seen.reshape(b, n, width))  # expect: MHA101


class Allocated(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = (f(x).view(b, n, self.heads, self.head_width).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = torch.zeros(b, self.heads, n, self.head_width)
        for head in range(self.heads):
            scores = q[:, head] @ k[:, head].transpose(1, 2) * self.head_width**-0.5
            seen[:, head] = scores.softmax(-1) @ v[:, head]
        return self.out(seen.view(b, n, width))  # expect: MHA101
