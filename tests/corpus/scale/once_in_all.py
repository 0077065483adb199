# run: [cls(32, 4)(torch.randn(2, 5, 32)) for cls in (Mup, Quarters, GivenOne, Chosen)]
"""The scale is right, or one over the width on purpose, however many places take part in it."""

import torch
import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.scale = self.d ** -0.5
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (m(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2) for m in (self.query, self.key, self.value))
        return self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))


class Mup(Heads):
    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q / self.d, k, v, scale=1.0)


class Quarters(Heads):
    def attend(self, q, k, v):
        q, k = q * self.d ** -0.25, k * self.d ** -0.25
        return (q @ k.mT).softmax(-1) @ v


class GivenOne(Heads):
    def attend(self, q, k, v):
        q *= self.scale
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)


class Chosen(Heads):
    def attend(self, q, k, v):
        if not torch.is_grad_enabled():
            return F.scaled_dot_product_attention(q, k, v)
        return ((q * self.scale) @ k.mT).softmax(-1) @ v
