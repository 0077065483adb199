# stub: layer_stacks
# not run: the stacks are not installed
"""What others are handed may be projected there."""
import torch.nn.functional as F
from torch import nn

from layer_stacks import ProjectedAttention, Stack


class Inner(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(dim, 3 * dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)  # noqa: MHA002
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)


class Layer(nn.Module):
    """The wrapper may hold the projection."""

    def __init__(self, dim, heads):
        super().__init__()
        self.attention = ProjectedAttention(Inner(dim, heads), dim)

    def forward(self, x):
        return self.attention(x)


class Mixed(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.q, self.kv = heads, nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, x):
        q, (k, v) = self.q(x), self.kv(x).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Trunk(nn.Module):
    """A linear layer stands beside the attention."""

    def __init__(self, dim, depth, heads):
        super().__init__()
        self.stack = Stack([[Mixed(dim, heads), nn.Linear(dim, dim), nn.LayerNorm(dim)] for _ in range(depth)])

    def forward(self, x):
        return self.stack(x)


class Chosen(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(dim, 3 * dim)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


KINDS = {"chosen": Chosen}


class Block(nn.Module):
    """Which class is called is read in a table."""

    def __init__(self, kind, dim, heads):
        super().__init__()
        self.attention, self.out = KINDS[kind](dim, heads), nn.Linear(dim, dim)

    def forward(self, x):
        return x + self.out(self.attention(x))
