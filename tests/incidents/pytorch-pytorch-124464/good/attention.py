import torch
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self, width, heads, p=0.1):
        super().__init__()
        self.heads = heads
        self.p = p
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def _split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, x, mask=None):
        q, k, v = self._split(self.q(x)), self._split(self.k(x)), self._split(self.v(x))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0)
        return self.o(y.transpose(1, 2).flatten(2))
