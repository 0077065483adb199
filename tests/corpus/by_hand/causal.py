# run: Block(24, 4, 16).eval()(torch.randn(2, 5, 24))
# fix: unsafe
import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int, longest: int, rate: float = 0.1):
        super().__init__()
        self.heads = heads
        self.joint = nn.Linear(width, 3 * width)
        self.last = nn.Linear(width, width)
        self.drop = nn.Dropout(rate)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.size()
        q, k, v = self.joint(x).split(c, dim=2)
        q = q.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = k.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        v = v.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.size(-1))
        scores = scores.masked_fill(self.past[:, :, :t, :t] == 0, float("-inf"))
        weights = F.softmax(scores, dim=-1)  # expect: MHA201
        weights = self.drop(weights)
        return self.last((weights @ v).transpose(1, 2).reshape(b, t, c))
