# run: Lower(32, 4)(torch.randn(2, 5, 32))
# run: Transposed(32, 4)(torch.randn(2, 5, 32))
# run: Backward(32, 4)(torch.randn(2, 5, 32))
# run: BackwardFused(32, 4)(torch.randn(2, 5, 32))
# run: Window(32, 4)(torch.randn(2, 5, 32))
# run: Additive(32, 4)(torch.randn(2, 5, 32))
# run: Changed(32, 4)(torch.randn(2, 5, 32))
# run: Layer(32, 4)(torch.randn(2, 5, 32))
# run: Pairs(32)(torch.randn(2, 5, 32))
"""Masks that are right, that look forward on purpose, or of which too little is known."""
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

    def fused(self, x, mask):
        y = F.scaled_dot_product_attention(*self.split(x), attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def ones(self, x, kind=torch.bool):
        return torch.ones(x.shape[1], x.shape[1], dtype=kind, device=x.device)


class Lower(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5
        scores = scores.masked_fill(self.ones(x).triu(1), float("-inf"))
        y = (scores.softmax(-1) @ v) + F.scaled_dot_product_attention(q, k, v, attn_mask=self.ones(x).tril())  # noqa: MHA203
        return self.out(y.transpose(1, 2).flatten(2))


class Transposed(Base):
    def forward(self, x):
        return self.fused(x, (torch.triu(self.ones(x, torch.float32)) == 1).transpose(0, 1))


class Backward(Base):
    """Each token sees itself and what comes after."""

    def forward(self, x):
        q, k, v = self.split(x)
        scores = (q @ k.mT * k.size(-1) ** -0.5).masked_fill(self.ones(x).tril(-1), float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class BackwardFused(Base):
    def forward(self, x):
        return self.fused(x, self.ones(x).triu())


class Window(Base):
    def forward(self, x):
        near = self.ones(x).triu(-2) & self.ones(x).tril(2)
        return self.fused(x, near)


class Additive(Base):
    def forward(self, x):
        past = self.ones(x, torch.float32).tril()
        mask = past.masked_fill(past == 0, float("-inf")).masked_fill(past == 1, 0.0)
        return self.fused(x, mask)


class Changed(Base):
    """Not only the future: of what a part was written to, nothing is said."""

    def forward(self, x):
        mask = self.ones(x).triu(1)
        mask[:, :2] = True
        return self.fused(x, mask)


class Layer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        future = torch.triu(torch.ones(x.shape[1], x.shape[1], device=x.device), diagonal=1).bool()
        return self.attention(x, x, x, attn_mask=future, need_weights=False)[0]


class Pairs(nn.Module):
    """Scores of ordered pairs: the lower half is not asked for."""

    def __init__(self, dim):
        super().__init__()
        self.first, self.second = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        logits = self.first(x) @ self.second(x).mT / x.shape[-1] ** 0.5
        lower = torch.tril(torch.ones(logits.shape[-2:], device=x.device)).bool()
        return logits.masked_fill(lower, -1e4)
