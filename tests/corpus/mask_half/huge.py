# run: Classic(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: GPT(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: Powers(32, 4)(torch.randn(2, 5, 32))
# run: Attribute(32, 4)(torch.randn(2, 5, 32))
# run: Chained(32, 4)(torch.randn(2, 5, 32))
"""Numbers that float16 can't hold, as they are written."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


def attention(q, k, v, mask=None):
    scores = torch.matmul(q, k.transpose(-2, -1)) * q.size(-1) ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)  # as in the annotated paper  # expect: MHA108
    return torch.matmul(F.softmax(scores, dim=-1), v)


class Classic(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        return self.merge(attention(q, k, v, mask))


class GPT(Base):
    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        self.register_buffer("bias", torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest))

    def forward(self, x):
        t = x.size(1)
        q, k, v = self.split(x)
        att = (q @ k.transpose(-2, -1)) * k.size(-1) ** -0.5
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, -1e10)  # expect: MHA108
        return self.merge(F.softmax(att, dim=-1) @ v)


class InPlace(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        scores.masked_fill_(future, value=-1000000.0)  # expect: MHA108
        return self.merge(scores.softmax(-1) @ v)


class Powers(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5
        lowest = -2**32 + 1
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, lowest)  # expect: MHA108
        return self.merge(scores.softmax(-1) @ v)


class Attribute(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.lowest = -1e20

    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        scores = torch.masked_fill(scores, future, self.lowest)  # expect: MHA108
        return self.merge(scores.softmax(-1) @ v)


class Chained(Base):
    """No name for the scores; the causal mask leaves every row a key."""

    def forward(self, x):
        q, k, v = self.split(x)
        future = torch.triu(torch.ones(x.shape[1], x.shape[1], device=x.device), diagonal=1).bool()
        weights = (q @ k.mT * k.size(-1) ** -0.5).masked_fill(future, -1e9).softmax(-1)  # expect: MHA108
        return self.merge(weights @ v)
