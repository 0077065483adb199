# run: Past(32, 4)(torch.randn(2, 5, 32))
# run: NotEqual(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: Swapped(32, 4)(torch.randn(2, 5, 32))
# run: FromNumpy(32, 4)(torch.randn(2, 5, 32))
# run: Largest(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Attention written out, whose masks are the wrong way round."""
import numpy as np
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def scored(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        return q @ k.mT * k.size(-1) ** -0.5, v

    def attend(self, scores, v):
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Past(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        mask = torch.tril(torch.ones(x.shape[1], x.shape[1], device=x.device)).bool()
        scores = scores.masked_fill(mask, float("-inf"))  # expect: MHA106
        return self.attend(scores, v)


class NotEqual(Base):
    def __init__(self, dim, heads, longest=64):
        super().__init__(dim, heads)
        self.register_buffer("tril", torch.tril(torch.ones(longest, longest)))

    def forward(self, x):
        t = x.shape[1]
        scores, v = self.scored(x)
        scores = scores.masked_fill(self.tril[:t, :t] != 0, float("-inf"))  # expect: MHA106
        return self.attend(scores, v)


class InPlace(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.triu(torch.ones(scores.shape[-2:], device=x.device), diagonal=1)
        scores.masked_fill_(future == 0, -1e4)  # expect: MHA106
        return self.attend(scores, v)


class Swapped(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()
        scores = torch.where(past, torch.finfo(scores.dtype).min, scores)  # expect: MHA106
        return self.attend(scores, v)


class FromNumpy(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        t = x.shape[1]
        future = torch.from_numpy(np.triu(np.ones((1, t, t)), k=1).astype("uint8")).to(x.device)
        scores = scores.masked_fill(future == 0, float("-inf"))  # expect: MHA106
        return self.attend(scores, v)


class Largest(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        hidden = -torch.finfo(scores.dtype).max
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()
        scores = scores.masked_fill(past, hidden)  # expect: MHA106
        return self.attend(scores, v)
