# run: Causal(32, 4)(torch.randn(2, 5, 32))
# run: OfTorch(32, 4)(torch.randn(2, 5, 32))
# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# run: Added(32, 4)(torch.randn(2, 5, 32))
# run: Helped(32, 4)(torch.randn(2, 5, 32))
# run: Optional(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: InSteps(32, 4)(torch.randn(2, 5, 32))
# run: ByEinsum(32, 4)(torch.randn(2, 5, 32))
# run: ByHead(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Scores that are masked in a copy, which nobody takes."""
import torch
import torch.nn.functional as F
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def score(self, x):
        q, k, v = self.split(x)
        return q @ k.mT * q.shape[-1] ** -0.5, v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


def future(x):
    t = x.shape[1]
    return torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)


class Causal(Base):
    def forward(self, x):
        scores, v = self.score(x)
        scores.masked_fill(future(x), float("-inf"))  # expect: MHA114
        return self.merge(scores.softmax(dim=-1) @ v)


class OfTorch(Base):
    def forward(self, x):
        scores, v = self.score(x)
        torch.masked_fill(scores, future(x), float("-inf"))  # expect: MHA114
        return self.merge(scores.softmax(dim=-1) @ v)


class Chosen(Base):
    def forward(self, x):
        scores, v = self.score(x)
        smallest = torch.tensor(torch.finfo(scores.dtype).min, device=x.device)
        torch.where(future(x), smallest, scores)  # expect: MHA114
        return self.merge(scores.softmax(dim=-1) @ v)


class Added(Base):
    def forward(self, x):
        scores, v = self.score(x)
        hidden = torch.zeros(x.shape[1], x.shape[1], device=x.device).masked_fill(future(x), float("-inf"))
        scores.add(hidden)  # expect: MHA114
        return self.merge(scores.softmax(dim=-1) @ v)


def masked(scores, hidden):
    scores.masked_fill(hidden, torch.finfo(scores.dtype).min)  # expect: MHA114
    return scores


class Helped(Base):
    def forward(self, x):
        scores, v = self.score(x)
        return self.merge(F.softmax(masked(scores, future(x)), dim=-1) @ v)


class Optional(Base):
    def forward(self, x, mask=None):
        scores, v = self.score(x)
        if mask is not None:
            scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)  # expect: MHA114
        return self.merge(scores.softmax(dim=-1) @ v)


class InSteps(Base):
    def forward(self, x):
        scores, v = self.score(x)
        hidden = future(x)
        scores.masked_fill(  # expect: MHA114
            hidden,
            torch.finfo(scores.dtype).min,
        )
        scores = scores - scores.amax(dim=-1, keepdim=True)
        return self.merge(scores.softmax(dim=-1) @ v)


class ByEinsum(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        energy = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
        energy.masked_fill(mask=future(x), value=float("-inf"))  # expect: MHA114
        return self.merge(torch.einsum("bhij,bhjd->bhid", energy.softmax(dim=-1), v))


class ByHead(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        heads = []
        for head in range(self.heads):
            attn = torch.matmul(q[:, head], k[:, head].transpose(1, 2)) * q.shape[-1] ** -0.5
            attn.masked_fill(future(x), float("-inf"))  # expect: MHA114
            heads.append(attn.softmax(dim=-1) @ v[:, head])
        return self.out(torch.cat(heads, dim=-1))
