# run: Attention(32, 4)(torch.randn(5, 2, 32))
import torch
from torch import nn


class Attention(nn.Module):
    """The layout is lost on the way, and an assertion gives it back."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.kept = {}

    def stored(self, name, tensor):
        self.kept[name] = tensor
        return self.kept[name]

    def forward(self, x):
        t, b, c = x.size()
        q, k, v = (y.reshape(t, b * self.heads, self.d).transpose(0, 1) for y in self.qkv(x).chunk(3, dim=-1))
        weights = (torch.bmm(q, k.transpose(1, 2)) * self.d**-0.5).softmax(-1)
        y = torch.bmm(self.stored("weights", weights), self.stored("values", v))
        assert list(y.size()) == [b * self.heads, t, self.d]
        return self.out(y.transpose(0, 1).view(t, b, c))  # expect: MHA001
