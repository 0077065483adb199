# run: SelfAttention(24, 4)(torch.randn(2, 5, 24))
"""Bases and mixins: the subclass decides what happens to the merged heads."""
from abc import ABC, abstractmethod

import torch
from torch import nn


class HeadsMixin:
    num_heads: int

    def split(self, x):
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def merge(self, x):
        return x.transpose(1, 2).flatten(2)


class AttentionBase(HeadsMixin, nn.Module, ABC):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)

    @abstractmethod
    def project(self, merged):
        ...

    def attend(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        w = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.merge(w @ v)

    def forward(self, x):
        return self.project(self.attend(x))


class SelfAttention(AttentionBase):
    def __init__(self, dim, num_heads):
        super().__init__(dim, num_heads)
        self.o = nn.Linear(dim, dim)

    def project(self, merged):
        return self.o(merged)
