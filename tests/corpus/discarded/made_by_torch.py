# run: Kernel(32, 4)(torch.randn(2, 5, 32))
# run: Bins(32, 4)(torch.randn(2, 5, 32))
# run: embedded(Bins(32, 4), torch.randn(2, 5, 32))
# fix: none (nothing is shown to be wrong with these lines)
"""Tensors of which nothing is known but that a function of torch made them, or that no other object has such a method."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def attend(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Kernel(Base):
    def squared(self, data, rate):
        total = torch.sum(data**2, dim=-1)
        total = total / 2.0 * rate**2
        total.unsqueeze(dim=-1)  # expect: MHA114
        return data - total.mean()

    def forward(self, x):
        return self.attend(self.squared(x, 0.5))


class Bins(Base):
    def placed(self, data, count):
        edges = torch.linspace(0.0, 1.0, count)
        edges.view([1, -1])  # expect: MHA114
        index = torch.searchsorted(edges, data.softmax(-1))
        index.clamp(0, count - 1)  # expect: MHA114
        return edges[index.clamp(0, count - 1)]

    def forward(self, x):
        return self.attend(self.placed(x, 8))


def embedded(encoder, images):
    states = encoder(images)
    states.repeat_interleave(2, dim=0)  # expect: MHA114
    return torch.softmax(states @ states.mT, dim=-1)
