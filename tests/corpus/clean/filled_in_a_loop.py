# run: Listed(24, 4)(torch.randn(2, 5, 24))
# run: Allocated(24, 4)(torch.randn(2, 5, 24))
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
        seen[0] = seen[0] * 1.0
        return self.out(torch.stack(seen, dim=2).reshape(b, n, width))


class Allocated(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = (f(x).view(b, n, self.heads, self.head_width).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = torch.zeros(b, n, self.heads, self.head_width)
        for head in range(self.heads):
            scores = q[:, head] @ k[:, head].transpose(1, 2) * self.head_width**-0.5
            seen[:, :, head] = scores.softmax(-1) @ v[:, head]
        return self.out(seen.view(b, n, width))
