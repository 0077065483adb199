# not run: methods by themselves
# fix: unsafe
"""Scores by a sum of queries times keys."""
import torch
import torch.nn.functional as F
from torch import nn


class Pool(nn.Module):
    def __init__(self, width, p):
        super().__init__()
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
        self.p = p

    def forward(self, x, y):
        q, k = self.q(x), self.k(y)
        s = torch.sum(q * k, dim=-1)
        w = F.softmax(s, dim=-1)
        return F.dropout(w, self.p).unsqueeze(-1) * y  # expect: MHA103

    def given(self, q, k, v):
        s = (q.unsqueeze(1) * k).sum(-1)
        w = s.softmax(-1)
        return F.dropout(w, self.p) @ v  # expect: MHA103

    def step(self, q, k, v, mask):
        prod = q * k
        s = prod.sum(-1)
        s = s.masked_fill(mask, -1e-9)  # expect: MHA111
        w = s.softmax(-1)
        return w @ v

    def gated(self, a, b):
        g = self.q(a).sigmoid() * self.k(a)
        return F.dropout(g, self.p)
