# run: (Scores(32, 4)(torch.randn(2, 5, 32)), Halves(32, 4)(torch.randn(2, 5, 32)), Rows(32, 4)(torch.randn(2, 5, 32)))
# fix: unsafe
import math

import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x):
        return x.unflatten(-1, (self.heads, self.d)).transpose(1, 2)


class Scores(Heads):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        root = math.sqrt(self.d)
        q = q / root
        scores = torch.einsum("bhid,bhjd->bhij", q, k)
        weights = (scores / root).softmax(-1)  # expect: MHA104
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Halves(Heads):
    """Each of both takes half of the root, and fused attention takes it once more."""

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        half = self.d ** -0.25
        y = F.scaled_dot_product_attention(q * half, k * half, v)  # expect: MHA104
        return self.out(y.transpose(1, 2).flatten(2))


class Rows(Heads):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.scale = self.d ** -0.5

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.mT * self.scale
        scores *= self.scale  # expect: MHA104
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
