# run: (Block(32)(torch.randn(2, 5, 32)), Stack(32)(torch.randn(5, 2, 32)), Pooled(32)(torch.randn(2, 5, 32)))
import torch
from torch import nn


class Block(nn.Module):
    """A block as tutorials write it: the weights have a name that nobody reads."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        x = self.norm(x)
        y, _ = self.attend(x, x, x)  # expect: MHA202
        return x + y


class Stack(nn.Module):
    """Layers of a list, told to give what nobody takes."""

    def __init__(self, dim, heads=4, depth=2):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.layers = nn.ModuleList([nn.MultiheadAttention(dim, heads, dropout=0.0) for _ in range(depth)])

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            x = self.norms[index](x)
            x = x + layer(x, x, x, need_weights=True)[0]  # expect: MHA202
        return x


class Pooled(nn.Module):
    """Both values have one name, of which the first alone is read."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        x = self.norm(x)
        query = self.query.expand(x.shape[0], -1, -1)
        pooled = self.attend(  # expect: MHA202
            query,
            x,
            x,
        )
        pooled = pooled[0]
        return pooled[:, 0]
