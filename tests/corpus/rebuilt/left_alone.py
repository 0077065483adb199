# run: Floats(24, 3, 4)(torch.randn(2, 4, 24))
# run: Positions(24, 3, 4)(torch.randn(2, 4, 24))
# run: WrittenTo(24, 3, 4)(torch.randn(2, 4, 24), torch.zeros(4, 4, dtype=torch.bool))
# fix: none (a buffer would be cast, would lack a variable of the method, or would be written into)
import torch
import torch.nn as nn


class Base(nn.Module):
    def __init__(self, dim, heads, length):
        super().__init__()
        self.heads = heads
        self.length = length
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def scores(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, v

    def merged(self, weights, v):
        y = weights @ v
        return self.proj(y.transpose(1, 2).flatten(2))


class Floats(Base):
    def __init__(self, dim, heads, length):
        super().__init__(dim, heads, length)

    def forward(self, x):
        scores, v = self.scores(x)
        bias = torch.full((self.length, self.length), float("-inf"), device=x.device).triu(1)  # expect: MHA204
        return self.merged((scores + bias).softmax(dim=-1), v)


class Positions(Base):
    def __init__(self, dim, heads, length):
        super().__init__(dim, heads, length)

    def forward(self, x):
        scores, v = self.scores(x)
        i = torch.arange(self.length, device=x.device)
        keep = i[:, None] >= i[None]  # expect: MHA204
        return self.merged(scores.masked_fill(~keep, float("-inf")).softmax(dim=-1), v)


class WrittenTo(Base):
    def __init__(self, dim, heads, length):
        super().__init__(dim, heads, length)

    def forward(self, x, padded):
        scores, v = self.scores(x)
        future = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)  # expect: MHA204
        future.logical_or_(padded)
        return self.merged(scores.masked_fill(future, float("-inf")).softmax(dim=-1), v)
