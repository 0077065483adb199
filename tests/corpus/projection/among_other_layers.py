# fix: unsafe
# stub: reversible_layers
# run: GlobalAttention(16, 2)(torch.randn(2, 5, 16))
"""The layers are handed, in a list, to a stack of another package: it has no layer of its own to project with."""
import torch
import torch.nn.functional as F
from torch import nn

from reversible_layers import ReversibleStack


class GlobalAttention(nn.Module):  # expect: MHA003
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, x):
        b, n, d = x.shape
        q = self.to_q(x).view(b, n, self.heads, -1).transpose(1, 2)
        k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in self.to_kv(x).chunk(2, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).reshape(b, n, d)


class Prenorm(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.fn, self.norm = fn, nn.LayerNorm(dim)

    def forward(self, x):
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        return self.net(x)


class Trunk(nn.Module):
    def __init__(self, dim, depth, heads):
        super().__init__()
        blocks = nn.ModuleList([])
        for _ in range(depth):
            blocks.append(nn.ModuleList([Prenorm(dim, GlobalAttention(dim, heads)), Prenorm(dim, FeedForward(dim))]))
        self.stack = ReversibleStack(blocks, args=((False, False),) * depth)

    def forward(self, x):
        return self.stack(x)
