# run: SequenceFirst(16, 2)(torch.randn(5, 3, 16))
# run: ChannelAttention(16, 2)(torch.randn(3, 9, 16))
# run: OneQuery(16, 2)(torch.randn(3, 9, 16))
# run: Windows(16, 4)(torch.randn(2, 8, 8, 16))
# run: shift(torch.randn(2, 3, 5, 6))
import torch
import torch.nn.functional as F
from torch import nn


class SequenceFirst(nn.Module):
    """(t, b, h*d) viewed as (t, b*h, d): neighbours stay neighbours."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        t, b, c = x.shape
        q = self.q(x).view(t, b * self.heads, self.head_dim).transpose(0, 1)
        k = self.k(x).view(t, b * self.heads, self.head_dim).transpose(0, 1)
        v = self.v(x).view(t, b * self.heads, self.head_dim).transpose(0, 1)
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * self.head_dim**-0.5, dim=2)
        return self.o(torch.bmm(weights, v).transpose(0, 1).reshape(t, b, c))


class ChannelAttention(nn.Module):
    """Channels attend to channels, so that the tokens come last."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(0, 2, 3, 4, 1).unbind(1)
        attn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.proj((attn.softmax(dim=-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class OneQuery(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x[:, :1]).view(b, 1, self.heads, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        return self.o(F.scaled_dot_product_attention(q, k, v).reshape(b, 1, c))


class Windows(nn.Module):
    def __init__(self, dim, size):
        super().__init__()
        self.size, self.proj = size, nn.Linear(dim, dim)

    def forward(self, x):
        b, height, width, c = x.shape
        x = self.proj(x).view(b, height // self.size, self.size, width // self.size, self.size, c)
        return x.transpose(2, 3).reshape(-1, self.size * self.size, c)


def shift(scores):
    """Relative positions: rows and columns change places on purpose."""
    b, h, t, s = scores.shape
    return scores.reshape(b, h, s, t)[:, :, 1:].reshape(b, h, t, s - 1)
