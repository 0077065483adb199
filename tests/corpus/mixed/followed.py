# not run: methods by themselves
# fix: unsafe
# not exercised: base methods
"""Attention that is called through its class, cast for a type checker, joined with learned keys, or kept by an index."""
import torch
import torch.nn.functional as F
from torch import nn, Tensor
from typing import cast
import typing as t


class Base(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def attend(self, q, k, v):
        w = (q @ k.mT * k.size(-1) ** -0.5).softmax(-1)
        return w @ v

    @staticmethod
    def scores(q, k):
        return q @ k.mT * k.size(-1) ** -0.5



class A(Base):
    def forward(self, q, k, v, mask):
        s = Base.scores(q, k)
        s = s.masked_fill(mask, -1e-9)  # expect: MHA111
        return s.softmax(-1) @ v

    def two(self, q, k, v):
        w = F.dropout(Base.scores(q, k).softmax(-1), cast(float, self.p))  # expect: MHA103
        return w @ v

    def three(self, q, k, v):
        y = Base.attend(self, q, k, v)
        return F.dropout(y, self.p)  # expect: MHA103

    def four(self, q, k, v, mask):
        s = cast(Tensor, q @ k.mT * k.size(-1) ** -0.5)
        return s.masked_fill(mask, -1e9).softmax(-1) @ v  # expect: MHA108

    def five(self, q, k, v):
        n = q.shape[-2]
        mask = t.cast("Tensor", torch.ones(n, n, device=q.device).triu(1).bool())
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA106


class Sinks(nn.Module):
    def __init__(self, width, heads, p):
        super().__init__()
        self.heads, self.p = heads, p
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.sink = nn.Parameter(torch.zeros(1, heads, 1, width // heads))

    def forward(self, x, mask):
        b, n, c = x.shape
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, n, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, n, self.heads, -1).transpose(1, 2)
        k = torch.cat((self.sink.expand(b, -1, -1, -1), k), dim=2)
        v = torch.cat((self.sink.expand(b, -1, -1, -1), v), dim=2)
        s = q @ k.transpose(-2, -1) * k.size(-1) ** -0.5
        s = s.masked_fill(mask, -1e9)  # expect: MHA108
        w = F.dropout(s.softmax(-1), self.p)  # expect: MHA103
        return w @ v


class Heads(nn.Module):
    def __init__(self, heads, p):
        super().__init__()
        self.heads, self.p = heads, p

    def forward(self, q, k, v, mask):
        s = torch.zeros(q.shape[0], self.heads, q.shape[2], k.shape[2], device=q.device)
        for i in range(self.heads):
            s[:, i] = q[:, i] @ k[:, i].transpose(1, 2) * k.size(-1) ** -0.5
        s = s.masked_fill(mask, -1e9)  # expect: MHA108
        return F.dropout(s.softmax(-1), self.p) @ v  # expect: MHA103

    def two(self, q, k, v, mask):
        outs = [None] * self.heads
        for i in range(self.heads):
            w = (q[:, i] @ k[:, i].transpose(1, 2) * k.size(-1) ** -0.5).softmax(-1)
            outs[i] = w @ v[:, i]
        y = torch.cat(outs, dim=-1)
        return F.dropout(y, self.p)  # expect: MHA103

    def three(self, q, k, v, mask):
        out = torch.empty_like(q)
        for i in range(self.heads):
            w = (q[:, i] @ k[:, i].transpose(1, 2) * k.size(-1) ** -0.5).softmax(-1)
            out[:, i] = w @ v[:, i]
        return F.dropout(out, self.p)  # expect: MHA103
