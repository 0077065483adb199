# run: Buffer(32, 4, 16)(torch.randn(2, 5, 32))
# run: MovedWhereUsed(32, 4, 16)(torch.randn(2, 5, 32))
# run: MovedInPlace(32, 4, 16)(torch.randn(2, 5, 32))
# run: Asked(32, 4, 16)(torch.randn(2, 5, 32))
# run: Overrides(32, 4, 16)(torch.randn(2, 5, 32))
# run: NoDimension(32, 4)(torch.randn(2, 5, 32))
# run: Index(32, 4)(torch.randn(2, 5, 32))
# run: LikeTheScores(32, 4)(torch.randn(2, 5, 32))
# run: Around(32, 4)(torch.randn(2, 5, 32))
# run: script()
# run: Learned(32, 4)(torch.randn(2, 5, 32))
"""Tensors that come along, are asked where they are, or may stay behind."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def scores(self, x):
        b, t, c = x.shape
        q, k, v = [y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]
        return q @ k.mT * q.shape[-1] ** -0.5, v

    def out(self, scores, v):
        return self.o((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Buffer(Base):
    def __init__(self, dim, heads, size):
        super().__init__(dim, heads)
        self.register_buffer("mask", torch.ones(size, size).triu(1).bool(), persistent=False)

    def forward(self, x):
        scores, v = self.scores(x)
        return self.out(scores.masked_fill(self.mask[: x.shape[1], : x.shape[1]], float("-inf")), v)


class MovedWhereUsed(Base):
    def __init__(self, dim, heads, size):
        super().__init__(dim, heads)
        self.mask = torch.ones(size, size).triu(1).bool()

    def forward(self, x):
        scores, v = self.scores(x)
        mask = self.mask.to(x.device)[: x.shape[1], : x.shape[1]]
        return self.out(scores.masked_fill(mask, float("-inf")), v)


class MovedInPlace(Base):
    def __init__(self, dim, heads, size):
        super().__init__(dim, heads)
        self.mask = torch.ones(size, size).triu(1) * -1e4

    def forward(self, x):
        scores, v = self.scores(x)
        self.mask = self.mask.type_as(scores)
        return self.out(scores + self.mask[: x.shape[1], : x.shape[1]], v)


class Asked(Base):
    def __init__(self, dim, heads, size):
        super().__init__(dim, heads)
        self.mask = torch.ones(size, size).triu(1) * -1e4

    def forward(self, x):
        scores, v = self.scores(x)
        if self.mask.device != x.device:
            self.mask = self.mask.to(x)
        return self.out(scores + self.mask[: x.shape[1], : x.shape[1]], v)


class Overrides(Base):
    def __init__(self, dim, heads, size):
        super().__init__(dim, heads)
        self.mask = torch.ones(size, size).triu(1) * -1e4

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.mask = fn(self.mask)
        return self

    def forward(self, x):
        scores, v = self.scores(x)
        return self.out(scores + self.mask[: x.shape[1], : x.shape[1]], v)


class NoDimension(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.temperature = torch.full((), 0.5)

    def forward(self, x):
        scores, v = self.scores(x)
        return self.out(scores * self.temperature, v)


class Index(Base):
    """A tensor of another device may be indexed by."""

    def forward(self, x):
        scores, v = self.scores(x)
        kept = torch.ones(x.shape[1], dtype=torch.bool)
        return self.out(scores[:, :, :, kept], v[:, :, kept])


class LikeTheScores(Base):
    def forward(self, x):
        scores, v = self.scores(x)
        future = torch.ones_like(scores, dtype=torch.bool).triu(1)
        return self.out(scores.masked_fill(future, float("-inf")) + scores.new_zeros(scores.shape), v)


class Around(Base):
    def forward(self, x):
        scores, v = self.scores(x)
        with torch.device(x.device):
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.out(scores.masked_fill(future, float("-inf")), v)


class Learned(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.bias = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, x):
        scores, v = self.scores(x)
        return self.out(scores + self.bias, v)


def script():
    """All of it is on the default device."""
    x = torch.randn(2, 5, 32)
    q, k, v = nn.Linear(32, 96)(x).chunk(3, dim=-1)
    scores = q @ k.mT * 32**-0.5 + torch.ones(5, 5).triu(1) * -1e4
    return scores.softmax(dim=-1) @ v
