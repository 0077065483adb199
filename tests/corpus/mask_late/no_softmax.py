# run: Lost(32, 4)(torch.randn(2, 5, 32))
# run: Forgotten(32, 4)(torch.randn(2, 5, 32))
# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# run: Twice(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5, dtype=torch.bool))
# run: Einsum(32, 4)(torch.randn(2, 5, 32))
# run: Lowest(32, 4)(torch.randn(2, 5, 32))
# run: Returned(32, 4)(torch.randn(2, 5, 32))
# fix: none (where the softmax belongs is for a reader to say)
"""Masked scores that come to the values with no softmax between."""
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

    def future(self, x):
        return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Lost(Base):
    """The weights have a name that nothing reads before it is given to something else."""

    def forward(self, x):
        dots, v = self.scored(x)
        attn = dots.softmax(dim=-1)
        dots.masked_fill_(self.future(x), float("-inf"))  # expect: MHA107
        attn = self.drop(dots)
        return self.merge(attn @ v)


class Forgotten(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        scores = scores.masked_fill(self.future(x), -1e4)  # expect: MHA107
        return self.merge(self.drop(scores) @ v)


class Chosen(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        weights = F.softmax(scores, dim=-1)
        scores = torch.where(self.future(x), -torch.inf, scores)  # expect: MHA107
        return self.merge(torch.matmul(scores, v)), weights


class Twice(Base):
    def forward(self, x, keep):
        scores, v = self.scored(x)
        scores = scores.masked_fill(~keep, float("-inf"))  # expect: MHA107
        scores = scores.masked_fill(self.future(x), float("-inf"))  # expect: MHA107
        return self.merge(scores @ v)


class Einsum(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        scores = scores.masked_fill(self.future(x), -1e9)  # expect: MHA107
        return self.merge(torch.einsum("bhts,bhsd->bhtd", scores, v))


class Lowest(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        lowest = -torch.finfo(scores.dtype).max
        scores = scores.masked_fill(self.future(x), lowest)  # expect: MHA107
        return self.merge(self.drop(scores) @ v)


class Returned(Base):
    """A method hands back the scores where its name says that they are weights."""

    def weights(self, scores, hidden):
        masked = scores.masked_fill(hidden, float("-inf"))  # expect: MHA107
        masked.softmax(dim=-1)
        return masked

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge(self.weights(scores, self.future(x)) @ v)
