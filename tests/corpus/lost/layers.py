# run: Wrapped(32, 4)(torch.randn(2, 5, 32))
# run: Rearranged(32, 4)(torch.randn(2, 5, 32))
# run: States(32, 4)(torch.randn(2, 5, 32))
# run: Mapped(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 7, 32))
# run: Crossing(32, 4)(torch.randn(2, 5, 32), torch.randn(2, 7, 32))
# run: Cached(32, 4)(torch.randn(2, 5, 32))
# run: Plain(32, 4)(torch.randn(2, 5, 32))
# fix: none (which of the two was meant is for a reader to say)
"""Layers that are built and not applied, where another one's layer stands in for them."""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn


class Base(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def split(self, x):
        return x.view(x.size(0), -1, self.heads, self.d).transpose(1, 2)

    def merge(self, x):
        return self.out(x.transpose(1, 2).flatten(2))


class Wrapped(Base):
    def forward(self, x):
        mixed_query_layer = self.query(x)
        key_layer = self.split(self.norm(self.query(x)))  # expect: MHA122
        value_layer = self.split(self.value(x))
        query_layer = self.split(mixed_query_layer)
        return self.merge(F.scaled_dot_product_attention(query_layer, key_layer, value_layer))


class Rearranged(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x):
        q = rearrange(self.to_q(x), "b n (h d) -> b h n d", h=self.heads)
        k = rearrange(self.to_k(x), "b n (h d) -> b h n d", h=self.heads)
        v = rearrange(self.to_k(x), "b n (h d) -> b h n d", h=self.heads)  # expect: MHA122
        y = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(y, "b h n d -> b n (h d)"))


class Mapped(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x, context):
        q, k, v = map(self.split, (self.to_q(x), self.to_k(context), self.to_k(context)))  # expect: MHA122
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class States(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.q_proj = nn.Linear(width, heads * self.head_dim)
        self.k_proj = nn.Linear(width, heads * self.head_dim)
        self.v_proj = nn.Linear(width, heads * self.head_dim)
        self.o_proj = nn.Linear(heads * self.head_dim, width)

    def forward(self, hidden_states):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query_states = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value_states = self.k_proj(hidden_states).view(shape).transpose(1, 2)  # expect: MHA122
        y = F.scaled_dot_product_attention(query_states, key_states, value_states)
        return self.o_proj(y.transpose(1, 2).reshape(*hidden_states.shape[:-1], -1))


class Crossing(Base):
    """The layer of the keys is applied where there is no memory alone."""

    def forward(self, x, memory=None):
        q = self.split(self.query(x))
        if memory is not None:
            k = self.split(self.query(memory))  # expect: MHA122
            v = self.split(self.value(memory))
        else:
            k = self.split(self.key(x))
            v = self.split(self.value(x))
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Cached(Base):
    def forward(self, x, past=None):
        q = self.split(self.query(x))
        if past is not None:
            k, v = self.split(self.key(x)), self.split(self.value(x))
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        else:
            k, v = self.split(self.key(x)), self.split(self.key(x))  # expect: MHA122
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Plain(Base):
    """A subclass has a way of its own, and applies all three."""

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.query(x)), self.split(self.value(x))  # expect: MHA122
        weights = (q @ k.transpose(-2, -1) * self.d**-0.5).softmax(dim=-1)
        return self.merge(weights @ v)


def prune(model, pruned, heads):
    """Another layer is put in its place, which is no use of it."""
    model.attention.key = pruned(model.attention.key, heads)


class Fused(Plain):
    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        return self.merge(F.scaled_dot_product_attention(q, k, v))
