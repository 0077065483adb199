# run: Single(32, 4)(torch.randn(2, 5, 32))
# run: Kept(32, 4)(torch.randn(2, 5, 32))
# run: Told(32, 4)(torch.randn(2, 5, 32))
# run: Lowest(32, 4)(torch.randn(2, 5, 32))
# run: Cast(32, 4)(torch.randn(2, 5, 32))
"""Tensors made of a number that fits, or of float32."""
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

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Single(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        t = x.shape[1]
        future = torch.full((t, t), -1e9, device=x.device).triu(1)
        return self.merge(F.softmax(scores + future, dim=-1).to(v.dtype) @ v)


class Kept(Base):
    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        self.register_buffer("future", torch.full((longest, longest), -1e9).triu(1))

    def forward(self, x):
        scores, v = self.scored(x)
        return self.merge(F.softmax(scores + self.future[: x.shape[1], : x.shape[1]], dim=-1) @ v)


class Told(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.full_like(scores, -1e9, dtype=torch.float32).triu(1)
        return self.merge(F.softmax(scores + future, dim=-1).to(v.dtype) @ v)


class Lowest(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        future = torch.full_like(scores, torch.finfo(scores.dtype).min).triu(1)
        return self.merge(F.softmax(scores + future, dim=-1) @ v)


class Cast(Base):
    def forward(self, x):
        scores, v = self.scored(x)
        scores = scores.float()
        future = torch.full_like(scores, -1e9).triu(1)
        return self.merge(F.softmax(scores + future, dim=-1).to(v.dtype) @ v)
