# run: Filled(32, 4)(torch.randn(2, 5, 32))
# run: InPlace(32, 4)(torch.randn(2, 5, 32))
# run: Where(32, 4)(torch.randn(2, 5, 32))
# run: Reference(32, 4)(torch.randn(2, 5, 32))
# run: WithSinks(32, 4)(torch.randn(2, 5, 32))
"""Masks that are made where they are used, on the default device."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.o = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def all(self, x):
        b, t, c = x.shape
        return [y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1)]


class Filled(Base):
    def forward(self, x):
        q, k, v = self.all(x)
        t = x.size(1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        mask = torch.triu(torch.ones(t, t), diagonal=1).bool()  # expect: MHA110
        scores = scores.masked_fill(mask, float("-inf"))
        return self.o((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class InPlace(Base):
    def forward(self, x):
        q, k, v = self.all(x)
        past = torch.tril(torch.ones((x.shape[1], x.shape[1]), dtype=torch.uint8))  # expect: MHA110
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores.masked_fill_(past == 0, float("-inf"))
        return self.o((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Where(Base):
    def forward(self, x):
        q, k, v = self.all(x)
        t = x.shape[1]
        scores = q @ k.mT * q.shape[-1] ** -0.5
        past = torch.ones(t, t, dtype=torch.bool).tril()[None, None]  # expect: MHA110
        scores = torch.where(past, scores, torch.finfo(scores.dtype).min)
        return self.o((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Reference(Base):
    def forward(self, x):
        query, key, value = self.all(x)
        L, S = query.size(-2), key.size(-2)
        attn_bias = torch.zeros(L, S, dtype=query.dtype)  # expect: MHA110
        temp_mask = torch.ones(L, S, dtype=torch.bool).tril(diagonal=0)
        attn_bias.masked_fill_(temp_mask.logical_not(), float("-inf"))
        attn_weight = query @ key.transpose(-2, -1) * query.size(-1) ** -0.5
        attn_weight += attn_bias
        attn_weight = torch.softmax(attn_weight, dim=-1)
        return self.o((attn_weight @ value).transpose(1, 2).flatten(2))


class WithSinks(Base):
    def forward(self, x):
        q, k, v = self.all(x)
        b, h, t, d = k.shape
        k = torch.cat([torch.zeros(b, h, 1, d), k], dim=2)  # expect: MHA110
        v = torch.cat([v[:, :, :1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.o(y.transpose(1, 2).flatten(2))
