# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# run: Asked(32, 4)(torch.randn(2, 5, 32), True)
# run: Ablation(32, 4)(torch.randn(2, 5, 32))
# run: Mixed(32, 4)(torch.randn(2, 5, 32))
# run: Linear(32, 4)(torch.randn(2, 5, 32))
"""One layer is meant for two, or what is applied makes something else."""
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.shared_qk = heads, True
        self.to_out = nn.Linear(width, width)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, q, k, v):
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, x):
        return self.attend(self.split(self.to_q(x)), self.split(self.to_k(x)), self.split(self.to_v(x)))


class Chosen(Attention):
    """A setting says so."""

    def forward(self, x):
        q, v = self.split(self.to_q(x)), self.split(self.to_v(x))
        if self.shared_qk:
            k = F.normalize(self.split(self.to_q(x.detach())), dim=-1)
        else:
            k = self.split(self.to_k(x))
        return self.attend(q, k, v)


class Asked(Attention):
    """A caller says so."""

    def forward(self, x, symmetric):
        q, v = self.split(self.to_q(x)), self.split(self.to_v(x))
        if symmetric:
            k = self.split(self.to_q(x))
        else:
            k = self.split(self.to_k(x))
        return self.attend(q, k, v)


class Ablation(Attention):
    """It leaves out a layer of its base class."""

    def forward(self, x):
        q = self.split(self.to_q(x))
        k = self.split(self.to_q(x))
        v = self.split(self.to_v(x))
        return self.attend(q, k, v)


class Mixed(nn.Module):
    """Values are made of keys by a layer of their own, of another name; the usual layer is there for old checkpoints."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.of_keys = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x):
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.to_k(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        v = self.of_keys(self.to_k(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Linear(nn.Module):
    """Keys come of what a module made of the queries."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.to_out = nn.Linear(width, width)

    def forward(self, x):
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.refine(self.to_q(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.to_out(F.scaled_dot_product_attention(q, k, k).transpose(1, 2).flatten(2))
