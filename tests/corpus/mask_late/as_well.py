# run: Before(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: AddedBefore(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 1, 1, 5), torch.ones(2, 1, 1, 5))
# run: Renormalised(32, 4)(torch.randn(2, 5, 32))
# run: NormalisedBehind(32, 4)(torch.randn(2, 5, 32))
# run: Gated(32, 4)(torch.randn(2, 5, 32))
# run: OfHeads(32, 4)(torch.randn(2, 5, 32), torch.ones(4, 1, 1))
# run: Rows(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5, dtype=torch.bool))
# run: Sparse(32, 4)(torch.randn(2, 5, 32))
# run: Random(32, 4)(torch.randn(2, 5, 32))
# run: Linear(32, 4)(torch.randn(2, 5, 32))
"""Weights that are masked besides, that sum to one all the same, or that are not masked at all."""
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

    def scored(self, x):
        q, k, v = self.split(x)
        return q @ k.mT * k.size(-1) ** -0.5, v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Before(Base):
    def forward(self, x, mask):
        scores, v = self.scored(x)
        weights = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min).softmax(-1)
        return self.merge(weights.masked_fill(mask == 0, 0.0) @ v)


class AddedBefore(Base):
    def forward(self, x, bias, mask):
        scores, v = self.scored(x)
        weights = (scores + bias).softmax(-1)
        return self.merge(weights.masked_fill(mask == 0, 0.0) @ v)


class Renormalised(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(-1) * torch.ones_like(scores[0, 0]).tril()
        weights = weights / weights.sum(-1, keepdim=True)
        return self.merge(weights @ v)


class NormalisedBehind(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(-1) * torch.ones_like(scores[0, 0]).tril()
        return self.merge(weights @ v / weights.sum(-1, keepdim=True))


class Gated(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.gate = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge((scores.softmax(-1) * self.gate) @ v)


class OfHeads(Base):
    def forward(self, x, head_mask):
        scores, v = self.scored(x)
        return self.merge((scores.softmax(-1) * head_mask) @ v)


class Rows(Base):
    def forward(self, x, keep):
        scores, v = self.scored(x)
        weights = scores.softmax(-1).masked_fill(~keep[:, None, :, None], 0.0)
        weights = weights.masked_fill(keep.logical_not().unsqueeze(1).unsqueeze(-1), 0.0)
        return self.merge(weights @ v)


class Sparse(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = scores.softmax(-1)
        weights = weights.masked_fill(weights < 0.01, 0.0)
        return self.merge(weights @ v)


class Random(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        kept = torch.rand(scores.shape[-1], device=x.device) > 0.1
        return self.merge((scores.softmax(-1) * kept) @ v)


class Linear(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = F.elu(q) @ F.elu(k).mT * torch.ones(x.shape[1], x.shape[1], device=x.device).tril()
        return self.merge(scores @ v)
