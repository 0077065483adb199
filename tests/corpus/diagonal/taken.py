# run: Merged(32, 4)(torch.randn(2, 5, 32))
# run: OfLayer(32, 4)(torch.randn(2, 5, 32))
# run: WeightsFirst(32, 4)(torch.randn(2, 5, 32))
# run: Spaced(32, 4)(torch.randn(2, 5, 32))
# run: Listed(32, 4)(torch.randn(2, 5, 32))
# run: Values(32, 4)(torch.randn(2, 5, 32))
# run: PerHead(32, 4)(torch.randn(2, 5, 32))
# run: Formatted(32, 4)(torch.randn(2, 5, 32))
# fix: none (the equation does not tell which of the two letters is meant to be another one)
"""Equations in which a letter that stands twice takes the diagonal of a parameter, of weights, or of scores."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.merge = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)

    def weigh(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.width).permute(0, 2, 3, 1, 4).unbind(1)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.width**-0.5
        return scores.softmax(dim=-1), v


class Merged(Base):
    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2)
        return torch.einsum("btc,cc->btc", y, self.merge)  # expect: MHA123


class OfLayer(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2)
        return torch.einsum("dd,bxd->bxd", self.out.weight, y)  # expect: MHA123


class WeightsFirst(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("bhtt,bhtd->bthd", weights, v)  # expect: MHA123
        return self.out(y.flatten(2))


class Spaced(Base):
    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("b h i j, b h j d -> b i h d", [weights, v]).flatten(2)
        y = torch.einsum("... e, e e -> ... e", y, self.merge)  # expect: MHA123
        return y


class Listed(Base):
    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum(weights, [0, 1, 2, 3], v, [0, 1, 3, 4], [0, 2, 1, 4]).flatten(2)
        return torch.einsum(y, [0, 1, 2], self.merge, [2, 2], [0, 1, 2])  # expect: MHA123


class Values(Base):
    """The scores of queries and keys before they are normalised."""

    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.width).permute(0, 2, 3, 1, 4).unbind(1)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.width**-0.5
        y = torch.einsum("bhss,bhsd->bhsd", scores.softmax(dim=-1), v)  # expect: MHA123
        return self.out(y.transpose(1, 2).flatten(2))


class PerHead(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.maps = nn.Parameter(torch.randn(heads, self.width, self.width) * self.width**-0.5)

    def forward(self, x):
        weights, v = self.weigh(x)
        y = torch.einsum("bhij,bhjd->bihd", weights, v)
        return torch.einsum("bihd,hdd->bihd", y, self.maps).flatten(2)  # expect: MHA123


class Formatted(Base):
    def forward(self, x):
        weights, v = self.weigh(x)
        width = "c"
        y = torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2)
        return torch.einsum(f"bt{width},{width}{width}->bt{width}", y, self.merge)  # expect: MHA123
