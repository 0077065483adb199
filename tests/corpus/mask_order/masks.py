# fix: unsafe
# run: Layer(16, 4)(torch.randn(3, 5, 16), torch.tensor([2, 5, 3]))
# run: Filled(16, 4)(torch.randn(3, 5, 16), torch.ones(3, 5, 5, dtype=torch.bool))
# run: Padded(16, 4)(torch.randn(3, 5, 16), torch.tensor([2, 5, 3]))
# run: TimeFirst(16, 4)(torch.randn(5, 3, 16), torch.ones(3, 5, 5, dtype=torch.bool))
# run: HeadsFirst(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5))
"""A mask of each entry that is repeated for the heads in the wrong order."""
import math

import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.attend = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, x, lengths):
        t = x.size(1)
        hidden = torch.arange(t, device=x.device) >= lengths[:, None]
        hidden = hidden.unsqueeze(1).expand(-1, t, -1)
        y, _ = self.attend(x, x, x, attn_mask=hidden.repeat(self.num_heads, 1, 1), need_weights=False)  # expect: MHA118
        return x + y


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.head_width).transpose(1, 2).reshape(b * self.heads, t, self.head_width)

    def merge(self, y, b):
        t = y.shape[1]
        return self.out(y.view(b, self.heads, t, self.head_width).transpose(1, 2).reshape(b, t, -1))


class Filled(Attention):
    def forward(self, x, keep):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = torch.bmm(q, k.transpose(1, 2)) / math.sqrt(self.head_width)
        keep = keep.repeat(self.heads, 1, 1)  # expect: MHA118
        scores = scores.masked_fill(~keep, float("-inf"))
        return self.merge(scores.softmax(dim=-1) @ v, x.shape[0])


class Padded(Attention):
    def forward(self, x, lengths):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.mT * self.head_width**-0.5
        hidden = (torch.arange(t, device=x.device)[None] >= lengths[:, None]).view(b, 1, t)
        hidden = hidden.repeat((self.heads, 1, 1))  # expect: MHA118
        scores = torch.where(hidden, torch.finfo(scores.dtype).min, scores)
        return self.merge(torch.softmax(scores, dim=-1) @ v, b)


class TimeFirst(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, keep):
        t, b, c = x.shape
        d = c // self.heads
        q, k, v = (part.reshape(t, b * self.heads, d).transpose(0, 1) for part in self.qkv(x).chunk(3, dim=-1))
        scores = torch.bmm(q, k.transpose(1, 2)) * d**-0.5
        tiled = keep.tile(self.heads, 1, 1)  # expect: MHA118
        scores = scores.masked_fill(~tiled, float("-inf"))
        y = torch.bmm(scores.softmax(-1), v)
        return self.out(y.transpose(0, 1).reshape(t, b, c))


class HeadsFirst(Attention):
    """The heads are joined along the batch, (heads, entries), and the mask is repeated as (entries, heads)."""

    def forward(self, x, bias):
        b, t, _ = x.shape
        q, k, v = (torch.cat(f(x).split(self.head_width, dim=-1), dim=0) for f in (self.q, self.k, self.v))
        bias = bias.expand(-1, t, -1)
        scores = torch.bmm(q, k.transpose(1, 2)) / self.head_width**0.5
        scores = scores + bias.repeat_interleave(self.heads, dim=0)  # expect: MHA118
        y = torch.bmm(scores.softmax(dim=-1), v)
        return self.out(torch.cat(y.chunk(self.heads, dim=0), dim=-1))
