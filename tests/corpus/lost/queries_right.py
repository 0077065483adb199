# run: Same(32, 4)(torch.randn(2, 5, 32), None, None)
# run: Shared(32, 4)(torch.randn(2, 5, 32))
# run: Tied(32, 4)(torch.randn(2, 5, 32))
# run: Unread(32, 4)(torch.randn(2, 5, 32))
# run: Maps(32, 4)(torch.randn(2, 5, 32))
# run: ByWeight(32, 4)(torch.randn(2, 5, 32))
# run: Chosen(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 5, 32))
"""What looks as if it were lost."""
import torch
import torch.nn.functional as F
from torch import nn


class Same(nn.Module):
    """Another name for the same tensor."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.out = nn.Linear(width, width)

    def forward(self, query, key, value):
        key = value = query
        key = key.unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        query = query.unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        value = value.unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Shared(nn.Module):
    """Queries and keys are one, on purpose: there is no layer of the keys."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.to_q = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q = self.to_q(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        k = self.to_q(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        v = self.to_v(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(q, F.normalize(k, dim=-1), v).transpose(1, 2).flatten(2))


class Tied(nn.Module):
    """The layer of the keys is that of the queries."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.to_q, self.to_v = nn.Linear(width, width), nn.Linear(width, width)
        self.to_k = self.to_q
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.to_q(x), self.to_q(x), self.to_v(x)
        q, k, v = (y.unflatten(-1, (self.heads, self.d)).transpose(1, 2) for y in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Unread(nn.Module):
    """A layer that old checkpoints have, and nothing applies."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv, self.key = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, self.d)).transpose(1, 3).unbind(2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Maps(nn.Module):
    """The weights are what is asked for."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, self.d)).transpose(1, 3).unbind(2)
        v = v.contiguous()
        weights = (q @ k.transpose(-2, -1) * self.d**-0.5).softmax(-1)
        return weights.view(b * self.heads, t, t)


class ByWeight(nn.Module):
    """The layer's weight is read, not the layer called."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        q = F.linear(x, self.to_q.weight).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        k = F.linear(x, self.to_k.weight).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        v = F.linear(x, self.to_v.weight).unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Chosen(nn.Module):
    """On one path the queries are the keys."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d, self.of_keys = heads, width // heads, False
        self.out = nn.Linear(width, width)

    def forward(self, query, key):
        key = key.unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        query = query.unflatten(-1, (self.heads, self.d)).transpose(1, 2)
        if self.of_keys:
            query = key.clone()
        return self.out(F.scaled_dot_product_attention(query, key, key).transpose(1, 2).flatten(2))
