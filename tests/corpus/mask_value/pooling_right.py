# run: Filled(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Besides(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Again(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Hidden(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Soft(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Dropped(32)(torch.randn(2, 5, 32))
# run: Values(32)(torch.randn(2, 5, 32), torch.ones(2, 5, 1))
# run: Classes(32)(torch.randn(2, 5, 32), torch.ones(2, 5, 1))
# run: Gated(32)(torch.randn(2, 5, 32), torch.ones(2, 5, 1))
"""Learned scores that are masked as they should be, and products with masks that are no scores."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, 1))
        self.inner = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, 3)


class Filled(Base):
    def forward(self, h, mask):
        a = self.score(h).squeeze(-1).masked_fill(mask == 0, float("-inf"))
        return self.head(torch.einsum("bn,bnd->bd", F.softmax(a, dim=-1), h))


class Besides(Base):
    """The product alone would not do."""

    def forward(self, h, mask):
        a = self.score(h).squeeze(-1)
        a = a * mask - 1e4 * (1 - mask)
        return self.head(torch.einsum("bn,bnd->bd", F.softmax(a, dim=-1), h))


def masked_softmax(vector, mask, dim=-1):
    """What is masked has a weight at first, which is taken away again."""
    weights = F.softmax(vector * mask, dim=dim) * mask
    return weights / (weights.sum(dim=dim, keepdim=True) + 1e-13)


class Again(Base):
    def forward(self, h, mask):
        weights = masked_softmax(self.score(h).squeeze(-1), mask)
        return self.head(torch.einsum("bn,bnd->bd", weights, h))


class Hidden(Base):
    """Hidden values, whose scores are masked."""

    def forward(self, h, mask):
        h = self.inner(h) * mask[..., None]
        a = self.score(h).squeeze(-1).masked_fill(mask == 0, float("-inf"))
        return self.head(torch.einsum("bn,bnd->bd", a.softmax(-1), h))


class Soft(Base):
    """A weight for each score is no mask."""

    def forward(self, h, soft_mask):
        a = self.score(h).squeeze(-1) * soft_mask
        return self.head(torch.einsum("bn,bnd->bd", F.softmax(a, dim=-1), h))


class Dropped(Base):
    """A random mask drops scores on purpose."""

    def forward(self, h):
        a = self.score(h).squeeze(-1)
        mask = torch.rand_like(a) > 0.1
        return self.head(torch.einsum("bn,bnd->bd", F.softmax(a * mask, dim=-1), h))


class Values(Base):
    """Values that are masked come to no softmax."""

    def forward(self, h, mask):
        values = self.inner(h) * mask
        weights = F.softmax(self.score(h), dim=1)
        return self.head((weights * values).sum(dim=1))


class Classes(Base):
    """Each token has classes of its own: nothing is summed along these."""

    def forward(self, h, mask):
        return F.softmax(self.head(h) * mask, dim=-1)


class Gated(Base):
    def forward(self, h, mask):
        gate = torch.sigmoid(self.inner(h) * mask)
        return self.head((gate * h).sum(dim=1))
