# run: Fits(32, 4)(torch.randn(2, 5, 32))
# run: Single(32, 4)(torch.randn(2, 5, 32))
# run: SingleProduct(32, 4)(torch.randn(2, 5, 32))
# run: WithoutAutocast(32, 4)(torch.randn(2, 5, 32))
# run: ByType(32, 4)(torch.randn(2, 5, 32))
# run: Told(32, 4)(torch.randn(2, 5, 32))
# run: Summed(32, 4)(torch.randn(2, 5, 32))
# run: Assigned(32, 4)(torch.randn(2, 5, 32))
# run: Infinite(32, 4)(torch.randn(2, 5, 32))
# run: nearest(torch.randn(5, 8))
"""Numbers that fit, or that meet no float16."""
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
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        return q @ k.mT * k.size(-1) ** -0.5, v, future

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Fits(Base):
    def forward(self, x):
        scores, v, future = self.scored(x)
        return self.merge(scores.masked_fill(future, -1e4).softmax(-1) @ v)


class Single(Base):
    def forward(self, x):
        scores, v, future = self.scored(x)
        weights = scores.float().masked_fill(future, -1e9).softmax(-1)
        return self.merge(weights.to(v.dtype) @ v)


class SingleProduct(Base):
    """Queries and keys are cast, and so is their product, which autocast would make half."""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        scores = torch.matmul(q.float(), k.float().mT).float() * k.size(-1) ** -0.5
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, -1e9).softmax(-1)
        return self.merge(weights.type_as(v) @ v)


class WithoutAutocast(Base):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        with torch.autocast(x.device.type, enabled=False):
            scores = q.float() @ k.float().mT * k.size(-1) ** -0.5
            weights = scores.masked_fill(future, -1e9).softmax(-1)
        return self.merge(weights.type_as(v) @ v)


class ByType(Base):
    def forward(self, x):
        scores, v, future = self.scored(x)
        lowest = -1e9 if scores.dtype == torch.float32 else -1e4
        return self.merge(scores.masked_fill(future, lowest).softmax(-1) @ v)


class Told(Base):
    def forward(self, x):
        assert x.dtype is not torch.float16, "not made for half precision"
        scores, v, future = self.scored(x)
        return self.merge(scores.masked_fill(future, -1e9).softmax(-1) @ v)


class Summed(Base):
    """A sum rounds to minus infinity, and raises nothing."""

    def forward(self, x):
        scores, v, future = self.scored(x)
        return self.merge((scores + future.to(scores.dtype) * -1e9).softmax(-1) @ v)


class Assigned(Base):
    """So does an assignment."""

    def forward(self, x):
        scores, v, future = self.scored(x)
        scores[:, :, future] = -1e9
        return self.merge(scores.softmax(-1) @ v)


class Infinite(Base):
    def forward(self, x):
        scores, v, future = self.scored(x)
        return self.merge(scores.masked_fill(future, float("-inf")).softmax(-1) @ v)


def nearest(x):
    distances = -(x @ x.T)
    return distances.masked_fill(torch.eye(len(x), dtype=torch.bool), 1e9).argmin(-1)
