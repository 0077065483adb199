# not run: methods by themselves
# fix: unsafe
# not exercised: no way is found to call them
"""Scores of learned keys beside those of the input, and scores that are kept by an index."""
import torch
import torch.nn.functional as F
from torch import nn


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
