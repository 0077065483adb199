# run: Attention(32, 4)(torch.randn(2, 5, 32))
import math

import torch
from torch import nn


class Attention(nn.Module):
    """Two kinds of scores in one softmax, scaled when they are added; a width that is scaled by at once, on purpose."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.d = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.far, self.out = nn.Embedding(64, self.d), nn.Linear(width, width)
        self.register_buffer("scale", torch.sqrt(torch.tensor(self.d, dtype=torch.float32)))

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.d).transpose(1, 2)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        steps = torch.arange(t, device=x.device)
        apart = self.far(steps[:, None] - steps + 32)
        content, distance = q @ k.transpose(-2, -1), torch.einsum("bhid,ijd->bhij", q, apart)
        near = (q / self.d) @ k.transpose(-2, -1)
        both = ((content + distance) / math.sqrt(self.d)).softmax(-1)
        joint = torch.cat([content / self.scale, distance / self.scale], dim=-1).softmax(dim=-1)
        y = (both + near.softmax(-1)) @ v + joint @ torch.cat([v, v], dim=-2)
        return self.out(y.transpose(1, 2).reshape(b, t, c))
