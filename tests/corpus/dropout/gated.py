# run: Conditional(32, 4)(torch.randn(2, 5, 32))
# run: Statement(32, 4)(torch.randn(2, 5, 32))
# run: Multiplied(32, 4)(torch.randn(2, 5, 32))
# run: Property(32, 4)(torch.randn(2, 5, 32))
# run: EarlyReturn(32, 4)(torch.randn(2, 5, 32))
# run: NeverDrops(32, 4)(torch.randn(2, 5, 32))
# run: SwitchedOff(32, 4).eval()(torch.randn(2, 5, 32))
# run: MonteCarloAttention(32, 4)(torch.randn(2, 5, 32))
# run: Handed(32, 4)(torch.randn(2, 5, 32))
# run: Told(32, 4)(torch.randn(2, 5, 32))
"""Dropout that is gated, in one form or another, or stays on because that is what it is for."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads, p=0.1):
        super().__init__()
        self.heads, self.p = heads, p
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def heads_of(self, x):
        b, t, _ = x.shape
        return [y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]

    def merged(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Conditional(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=0.0 if not self.training else self.p))


class Statement(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        p = self.p
        if not self.training:
            p = 0
        return self.merged(F.scaled_dot_product_attention(q, k, v, None, p))


class Multiplied(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.p * float(self.training)))


class Property(Base):
    @property
    def rate(self):
        return self.p if self.training else 0.0

    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate))


class EarlyReturn(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        if not self.training:
            return self.merged(F.scaled_dot_product_attention(q, k, v))
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.p))


class NeverDrops(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.p = 0.0

    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.p))


class SwitchedOff(Base):
    def eval(self):
        self.p = 0.0
        return super().eval()

    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.p))


class MonteCarloAttention(Base):
    """Samples from the posterior in eval mode too."""

    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(F.scaled_dot_product_attention(q, k, v, dropout_p=self.p))


def attend(q, k, v, dropout_p=0.0, training=True):
    w = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    return F.dropout(w, dropout_p, training) @ v


class Handed(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        return self.merged(attend(q, k, v, self.p, self.training))


class Told(Base):
    def forward(self, x):
        q, k, v = self.heads_of(x)
        w = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        if self.training:
            w = F.dropout(w, self.p)
        return self.merged(w @ v)
