# run: OwnWeights(32, 4)(torch.randn(2, 5, 32))
# run: WithoutItself(32, 4)(torch.randn(2, 5, 32))
# run: Traced(32, 4)(torch.randn(2, 5, 32))
# run: Right(32, 4)(torch.randn(2, 5, 32))
# run: variances(torch.randn(5, 32), torch.eye(32))
# run: gates(torch.randn(2, 5, 32), torch.randn(32, 32))
"""Diagonals and traces that are meant, and letters that stand twice in different operands."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def weigh(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.width).permute(0, 2, 3, 1, 4).unbind(1)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.width**-0.5
        return scores.softmax(dim=-1), v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class OwnWeights(Base):
    """How much each token attends to itself."""

    def forward(self, x):
        weights, v = self.weigh(x)
        own = torch.einsum("bhii->bhi", weights)
        return self.merge(torch.einsum("bhij,bhjd->bhid", weights, v)), own


class WithoutItself(Base):
    """A token's own value is taken off."""

    def forward(self, x):
        weights, v = self.weigh(x)
        diagonal = torch.einsum("bhii,bhid->bhid", weights, v)
        return self.merge(torch.einsum("bhij,bhjd->bhid", weights, v) - diagonal)


class Traced(Base):
    def forward(self, x):
        weights, v = self.weigh(x)
        mean = torch.einsum("bhii->", weights)
        scaled = torch.einsum("bhii,bhjd->bhjd", weights, v)
        share = torch.einsum("bhii,bhid->bhd", weights, v)
        return self.merge(torch.einsum("bhij,bhjd->bhid", weights, v) + scaled + share[:, :, None] + mean)


class Right(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.map = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)

    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2)
        return torch.einsum("btc,ce->bte", y, self.map)


def variances(x, covariance):
    """The diagonal of a covariance, outside of attention."""
    spread = torch.einsum("nd,dd->nd", x, covariance)
    return spread.softmax(dim=-1)


def gates(x, gate):
    """Nothing is known of the operand."""
    y = torch.einsum("bij,bkj->bik", x, x).softmax(dim=-1) @ x
    return torch.einsum("btc,cc->btc", y, gate)
