# run: Exp(32, 4)(torch.randn(2, 5, 32))
# run: Powers(32, 4)(torch.randn(2, 5, 32))
# run: Sigmoid(32, 4)(torch.randn(2, 5, 32))
# run: Layer(32, 4)(torch.randn(2, 5, 32))
# run: Written(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: InPlaceOfAnother(32, 4)(torch.randn(2, 5, 32))
# run: Clamped(32, 4)(torch.randn(2, 5, 32))
# run: Zeroed(32, 4)(torch.randn(2, 5, 32))
# run: Refilled(32, 4)(torch.randn(2, 5, 32))
# run: Hard(32, 4)(torch.randn(2, 5, 32))
# run: Linear(32, 4)(torch.randn(2, 5, 32))
# run: Handed(32, 4)(torch.randn(2, 5, 32))
"""Masked scores that something else than a softmax makes weights of."""
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

    def masked(self, x):
        scores, v = self.scored(x)
        return scores.masked_fill(self.future(x), float("-inf")), v


class Exp(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        return self.merge(weights @ v / weights.sum(-1, keepdim=True))


class Powers(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        weights = 2.0**scores
        return self.merge(weights @ v)


class Sigmoid(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        return self.merge(self.drop(scores.sigmoid()) @ v)


class Layer(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.act = nn.ReLU()

    def forward(self, x):
        scores, v = self.masked(x)
        return self.merge(self.act(scores) @ v)


class Written(Base):
    def forward(self, x):
        with torch.no_grad():
            scores, v = self.masked(x)
            torch.softmax(scores, dim=-1, out=scores)
            return self.merge(scores @ v)


class InPlace(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        F.relu(scores, inplace=True)
        return self.merge(scores @ v)


class InPlaceOfAnother(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        scores.exp2_()
        return self.merge(scores @ v)


class Clamped(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        return self.merge(scores.clamp(min=0) @ v)


class Zeroed(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        return self.merge(torch.nan_to_num(scores, neginf=0.0) @ v)


class Refilled(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        best = scores.argmax(-1, keepdim=True)
        scores = scores.masked_fill(torch.isinf(scores), 0.0)
        return self.merge(scores @ v), best


class Hard(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        weights = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(v.dtype)
        return self.merge(weights @ v)


class Linear(Base):
    """Without a softmax: what is masked is 0."""

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge(scores.masked_fill(self.future(x), 0.0) @ v)


def shared(scores):
    weights = scores.exp()
    return weights / weights.sum(-1, keepdim=True)


class Handed(Base):
    def forward(self, x):
        scores, v = self.masked(x)
        return self.merge(shared(scores) @ v)
