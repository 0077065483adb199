# run: Attention(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
import math

import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x):
        return x.unflatten(-1, (self.heads, self.d)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        q = q / math.sqrt(self.d)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA104
        return self.out(y.transpose(1, 2).flatten(2))
