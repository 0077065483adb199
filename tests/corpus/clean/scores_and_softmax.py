# run: SlotAttention(16, 3)(torch.randn(2, 9, 16))
# run: Transposed(16)(torch.randn(2, 9, 16))
# run: Cosine(32, 4)(torch.randn(2, 5, 32))
# run: Mup(32, 4)(torch.randn(2, 5, 32))
# run: Folded(32, 4)(torch.randn(2, 5, 32))
# run: Normed(32, 4)(torch.randn(2, 5, 32))
import torch
import torch.nn.functional as F
from torch import nn


class SlotAttention(nn.Module):
    """Slots compete for inputs: normalised over the slots, then again over the inputs."""

    def __init__(self, dim, slots):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(1, slots, dim))
        self.k, self.v, self.q = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        q = self.q(self.slots.expand(x.shape[0], -1, -1))
        attn = torch.einsum("bid,bjd->bij", q, self.k(x)) * q.shape[-1] ** -0.5
        attn = attn.softmax(dim=1) + 1e-8
        attn = attn / attn.sum(dim=-1, keepdim=True)
        return torch.einsum("bij,bjd->bid", attn, self.v(x))


class Transposed(nn.Module):
    """Scores as (keys, queries): the softmax is over the keys, and the weights are turned round."""

    def __init__(self, dim):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        scores = self.k(x) @ self.q(x).transpose(1, 2) / c**0.5
        return scores.softmax(dim=1).transpose(1, 2) @ self.v(x)


class _Heads(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return x.view(b, t, self.heads, self.head_dim).transpose(1, 2)

    def merge(self, x):
        b, h, t, d = x.shape
        return self.o(x.transpose(1, 2).reshape(b, t, h * d))


class Cosine(_Heads):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x):
        q, k = F.normalize(self.split(self.q(x)), dim=-1), F.normalize(self.split(self.k(x)), dim=-1)
        return self.merge((q @ k.transpose(-2, -1) * self.temperature.exp()).softmax(-1) @ self.split(self.v(x)))


class Mup(_Heads):
    def forward(self, x):
        scores = self.split(self.q(x)) @ self.split(self.k(x)).transpose(-2, -1) / self.head_dim
        return self.merge(scores.softmax(-1) @ self.split(self.v(x)))


class Folded(_Heads):
    """No scale: it is in the initialisation, as in T5, which adds a bias to its scores."""

    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.relative_bias = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, x):
        scores = self.split(self.q(x)) @ self.split(self.k(x)).transpose(-2, -1)
        scores += self.relative_bias
        return self.merge(scores.softmax(-1) @ self.split(self.v(x)))


class Normed(_Heads):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.LayerNorm(self.head_dim)

    def forward(self, x):
        q, k = self.q_norm(self.split(self.q(x))), self.k_norm(self.split(self.k(x)))
        return self.merge((q @ k.transpose(-2, -1)).softmax(-1) @ self.split(self.v(x)))
