# run: Encoder(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Decoder(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: Assigned(32, 4)(torch.randn(2, 5, 32))
# run: ByName(32, 4)(torch.randn(2, 5, 32))
# run: InHelper(32, 4)(torch.randn(2, 5, 32))
# run: Zeroed(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""Scores that are filled with about nothing, in the ways that the slip is made."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

MASKED = -1e-9


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(0.1)

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, c // self.heads).transpose(1, 2)

    def attend(self, scores, v):
        y = torch.matmul(self.drop(F.softmax(scores, dim=-1)), v)
        return self.out(y.transpose(1, 2).flatten(2))


class Encoder(Base):
    def forward(self, x, mask):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(mask == 0, -1e-9)  # the padding  # expect: MHA111
        return self.attend(scores, v)


class Decoder(Base):
    def __init__(self, dim, heads, longest=64):
        super().__init__(dim, heads)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest)))

    def forward(self, x):
        t = x.shape[1]
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = torch.masked_fill(scores, self.past[:t, :t] == 0, value=-1e-10)  # expect: MHA111
        return self.attend(scores, v)


class InPlace(Base):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        scores.masked_fill_(future, 1e-9)  # expect: MHA111
        return self.attend(scores, v)


class Assigned(Base):
    def forward(self, x):
        t = x.shape[1]
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape, dtype=torch.bool, device=x.device).triu(1)
        scores[future] = 0.0  # expect: MHA111
        return self.attend(scores, v)


class ByName(Base):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        places = torch.arange(x.shape[1], device=x.device)
        scores = scores.masked_fill(places[:, None] < places[None, :], MASKED)  # expect: MHA111
        return self.attend(scores, v)


class InHelper(Base):
    def masked(self, scores):
        future = torch.triu(torch.ones_like(scores), diagonal=1).bool()
        return scores.masked_fill(future, -1e-8)  # expect: MHA111

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        return self.attend(self.masked(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])), v)


class Zeroed(Base):
    def forward(self, x, bias=None):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        past = torch.tril(torch.ones(scores.shape[-2:], device=x.device))
        scores = scores.masked_fill(past == 0, 0)  # expect: MHA111
        return self.attend(scores, v)
