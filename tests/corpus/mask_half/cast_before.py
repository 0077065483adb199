# run: Matmul(32, 4)(torch.randn(2, 5, 32))
# run: Einsum(32, 4)(torch.randn(2, 5, 32))
# run: Projected(32, 4)(torch.randn(2, 5, 32))
"""Queries and keys are cast to float32; under autocast their product is float16 all the same."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def future(self, x):
        return torch.ones(x.size(1), x.size(1), dtype=torch.bool, device=x.device).triu(1)

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, 3, self.heads, c // 3 // self.heads).permute(0, 2, 3, 1, 4).unbind(1)


class Matmul(Base):
    def forward(self, x):
        q, k, v = self.split(self.qkv(x))
        q = q.to(torch.float32)
        scores = torch.matmul(q, k.float().mT) * k.size(-1) ** -0.5
        weights = scores.masked_fill(self.future(x), -1e9).softmax(-1)  # expect: MHA108
        return self.out((weights.type_as(v) @ v).transpose(1, 2).flatten(2))


class Einsum(Base):
    def forward(self, x):
        q, k, v = self.split(self.qkv(x))
        scores = torch.einsum("bhtd,bhsd->bhts", q.float(), k.float()) * k.size(-1) ** -0.5
        scores = scores.masked_fill(self.future(x), -3e38)  # expect: MHA108
        return self.out((scores.softmax(-1).type_as(v) @ v).transpose(1, 2).flatten(2))


class Projected(Base):
    def forward(self, x):
        q, k, v = self.split(self.qkv(x).float())
        scores = q @ k.mT * k.size(-1) ** -0.5
        scores.masked_fill_(self.future(x), -1e12)  # expect: MHA108
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2).to(self.out.weight.dtype))
