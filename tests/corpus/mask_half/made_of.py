# run: Like(32, 4)(torch.randn(2, 5, 32))
# run: OfTheScores(32, 4)(torch.randn(2, 5, 32))
# run: OfTheInput(32, 4)(torch.randn(2, 5, 32))
# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# fix: none (no fill of the scores)
"""Tensors that are made of a number that float16 can't hold."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.drop = nn.Dropout(0.1)

    def scored(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        return q @ k.mT * k.size(-1) ** -0.5, v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Like(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.full_like(scores, -1e9).triu(1)  # expect: MHA108
        return self.merge(F.softmax(scores + future, dim=-1) @ v)


class OfTheScores(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = scores.new_full(scores.shape[-2:], -1e9)  # expect: MHA108
        scores = scores + torch.triu(future, diagonal=1)
        return self.merge(F.softmax(scores, dim=-1) @ v)


class OfTheInput(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        t = x.shape[1]
        future = torch.full((t, t), -1e9, dtype=x.dtype, device=x.device)  # expect: MHA108
        return self.merge(F.softmax(scores + future.triu(1), dim=-1) @ v)


class Chosen(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        past = torch.ones_like(scores, dtype=torch.bool).tril()
        scores = torch.where(past, scores, torch.full_like(scores, -1e9))  # expect: MHA108
        return self.merge(F.softmax(scores, dim=-1) @ v)
