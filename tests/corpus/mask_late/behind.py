# run: Filled(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Multiplied(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# run: Einsum(32, 4)(torch.randn(2, 5, 32))
# run: Biased(32, 4)(torch.randn(2, 5, 32))
# fix: none (where the mask belongs is for a reader to say)
"""Weights that are masked, of scores that are not."""
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


class Filled(Base):
    def forward(self, x, mask=None):
        scores, v = self.scored(x)
        weights = F.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(mask == 0, 0.0)  # expect: MHA107
        return self.merge(self.drop(weights) @ v)


class Multiplied(Base):
    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest)))

    def forward(self, x):
        t = x.shape[1]
        scores, v = self.scored(x)
        weights = scores.softmax(dim=-1) * self.past[:t, :t]  # expect: MHA107
        return self.merge(torch.matmul(weights, v))


class InPlace(Base):
    def forward(self, x, mask):
        scores, v = self.scored(x)
        weights = scores.softmax(dim=-1)
        weights.masked_fill_(mask == 0, 0)  # expect: MHA107
        return self.merge(weights @ v)


class Chosen(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = self.drop(torch.softmax(scores, -1))
        place = torch.arange(x.shape[1], device=x.device)
        weights = torch.where(place[:, None] >= place, weights, 0.0)  # expect: MHA107
        return self.merge(weights @ v)


class Einsum(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(-1)
        weights = weights * torch.ones_like(weights[0, 0]).tril()  # expect: MHA107
        return self.merge(torch.einsum("bhts,bhsd->bhtd", weights, v))


class Biased(Base):
    """A learned bias masks nothing."""

    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.bias = nn.Parameter(torch.zeros(heads, 5, 5))

    def forward(self, x):
        scores, v = self.scored(x)
        weights = (scores + self.bias).softmax(-1)
        future = torch.ones(5, 5, dtype=torch.bool, device=x.device).triu(1)
        weights = weights.masked_fill(future, 0.0)  # expect: MHA107
        return self.merge(weights @ v)
