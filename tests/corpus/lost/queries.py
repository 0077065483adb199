# run: Query(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 5, 32), torch.randn(2, 5, 32))
# run: Applied(32, 4)(torch.randn(2, 5, 32))
# run: Chained(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 5, 32))
# run: Values(32, 4)(torch.randn(2, 5, 32))
# run: Weights(20, 4)(torch.randn(2, 5, 20))
# fix: none (which of the two was meant is for a reader to say)
"""Queries, keys and values that are prepared, and something else is attended with."""
import torch
import torch.nn.functional as F
from torch import nn


class Query(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.out = nn.Linear(width, width)

    def forward(self, query, key, value):
        b, t = query.size(0), query.size(1)
        key = key.view(b, -1, self.heads, self.d).transpose(1, 2)
        query = key.reshape(b, t, self.heads, self.d).transpose(1, 2)  # expect: MHA122
        value = value.view(b, -1, self.heads, self.d).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Applied(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.q_proj(x).view(b, t, self.heads, self.d).transpose(1, 2)  # expect: MHA122
        v = self.v_proj(x).view(b, t, self.heads, self.d).transpose(1, 2)
        weights = (q @ k.transpose(-2, -1) * self.d**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Chained(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self):
        for layer in (self.query, self.key, self.value):
            nn.init.zeros_(layer.bias)

    def forward(self, x, memory):
        b = x.size(0)
        queries, keys, values = self.query(x), self.key(memory), self.key(memory)  # expect: MHA122
        queries, keys, values = (y.view(b, -1, self.heads, self.d).transpose(1, 2) for y in (queries, keys, values))
        return self.out(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class Values(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, width, bias=False)
        self.wv = nn.Linear(width, width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.wq(x).view(b, t, self.heads, self.d).permute(0, 2, 1, 3)
        k = self.wk(x).view(b, t, self.heads, self.d).permute(0, 2, 1, 3)
        v = self.wk(x).view(b, t, self.heads, self.d).permute(0, 2, 1, 3)  # expect: MHA122
        return self.wo(F.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3).flatten(2))


class Weights(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.wq = nn.Linear(width, width)
        self.wk = nn.Linear(width, width)
        self.wv = nn.Linear(width, width)
        self.wo = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q = self.wq(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.wk(x).view(b, t, self.heads, self.d).transpose(1, 2)
        v = self.wv(x).view(b, t, self.heads, self.d).transpose(1, 2)
        weights = (q @ k.transpose(-2, -1) * self.d**-0.5).softmax(-1)
        return self.wo(weights.transpose(1, 2).reshape(b, t, c))  # expect: MHA122
