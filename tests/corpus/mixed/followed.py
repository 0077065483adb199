# not run: methods by themselves
# fix: unsafe
"""Attention that is called through its class, cast for a type checker, or kept by an index."""
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


class Heads(nn.Module):
    def __init__(self, heads, p):
        super().__init__()
        self.heads, self.p = heads, p

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
