# run: Named()(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# run: Placed()(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# run: Opened(lowest=-1e9)(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
# run: Large()(*torch.randn(3, 2, 4, 5, 8), torch.ones(2, 1, 1, 5))
"""Defaults that somebody replaces, and one that masks."""
import torch
import torch.nn as nn


class Base(nn.Module):
    def scored(self, q, k):
        return q @ k.transpose(2, 3) / q.shape[-1] ** 0.5


class Attend(Base):
    def forward(self, q, k, v, mask, e=1e-12):
        score = self.scored(q, k).masked_fill(mask == 0, -e)
        return score.softmax(dim=-1) @ v


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = Attend()

    def forward(self, q, k, v, mask):
        return self.attend(q, k, v, mask, e=1e4)


def masked(score, mask, value=0.0):
    return score.masked_fill(mask == 0, value).softmax(dim=-1)


class Placed(Base):
    def forward(self, q, k, v, mask):
        return masked(self.scored(q, k), mask, -1e4) @ v


class Kept(Base):
    def __init__(self, lowest=-1e-9):
        super().__init__()
        self.lowest = lowest

    def forward(self, q, k, v, mask):
        return self.scored(q, k).masked_fill(mask == 0, self.lowest).softmax(dim=-1) @ v


class Opened(nn.Module):
    """What else is handed on is not known."""

    def __init__(self, **settings):
        super().__init__()
        self.attend = Kept(**settings)

    def forward(self, q, k, v, mask):
        return self.attend(q, k, v, mask)


class Large(Base):
    def forward(self, q, k, v, mask, value=-1e4):
        return self.scored(q, k).masked_fill(mask == 0, value).softmax(dim=-1) @ v
