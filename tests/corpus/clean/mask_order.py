# run: Right(16, 4)(torch.randn(3, 5, 16), torch.ones(3, 5, 5, dtype=torch.bool))
# run: Shared(16, 4)(torch.randn(3, 5, 16))
# run: Slopes(16, 4)(torch.randn(3, 5, 16))
# run: HeadsFirst(16, 4)(torch.randn(3, 5, 16), torch.ones(3, 5, 5, dtype=torch.bool))
# run: Grouped(16, 4, 2)(torch.randn(3, 5, 16))
# run: Windows(16, 4)(torch.randn(3, 8, 16), torch.zeros(4, 2, 2))
# run: Layer(16, 4)(torch.randn(3, 5, 16), torch.ones(3, 5, 5, dtype=torch.bool))
"""Masks that are repeated in the order of what they meet, or that are the same for all entries."""
import torch
from torch import nn


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


class Right(Attention):
    """Each entry's mask for all of its heads, in several spellings."""

    def forward(self, x, keep):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.mT * self.head_width**-0.5
        scores = scores.masked_fill(~keep.repeat_interleave(self.heads, dim=0), -1e4)
        scores = scores.masked_fill(~keep.unsqueeze(1).repeat(1, self.heads, 1, 1).view(-1, t, t), -1e4)
        scores = scores.masked_fill(~keep[:, None].expand(b, self.heads, t, t).reshape(-1, t, t), -1e4)
        return self.merge(scores.softmax(-1) @ v, b)


class Shared(Attention):
    """A causal mask is the same for all entries."""

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        hidden = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        hidden = hidden.expand(b, t, t).repeat(self.heads, 1, 1)
        also = torch.ones(b, t, t, device=x.device).repeat(self.heads, 1, 1)
        again = hidden[:1].repeat(b, 1, 1).repeat(self.heads, 1, 1)
        scores = (q @ k.mT * self.head_width**-0.5 * also).masked_fill(hidden | again, float("-inf"))
        return self.merge(scores.softmax(-1) @ v, b)


class Slopes(Attention):
    """What each head adds is repeated for the batch."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.slopes = nn.Parameter(torch.randn(heads))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        apart = torch.arange(t, device=x.device)
        bias = self.slopes.view(self.heads, 1, 1) * (apart[None, :] - apart[:, None])
        scores = q @ k.mT * self.head_width**-0.5 + bias.repeat(b, 1, 1)
        return self.merge(scores.softmax(-1) @ v, b)


class HeadsFirst(Attention):
    """The heads are joined along the batch, and so are the masks."""

    def forward(self, x, keep):
        b, t, _ = x.shape
        q, k, v = (torch.cat(f(x).split(self.head_width, dim=-1), dim=0) for f in (self.q, self.k, self.v))
        scores = torch.bmm(q, k.transpose(1, 2)) * self.head_width**-0.5
        scores = scores.masked_fill(~keep.repeat(self.heads, 1, 1), -1e4)
        y = torch.bmm(scores.softmax(dim=-1), v)
        return self.out(torch.cat(y.chunk(self.heads, dim=0), dim=-1))


class Grouped(nn.Module):
    """Keys and values are tiled for the groups: each query head has a partner, in whatever order."""

    def __init__(self, width, heads, groups):
        super().__init__()
        self.heads, self.groups, self.d = heads, groups, width // heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * groups * self.d)

    def forward(self, x):
        b, t, _ = x.shape
        times = self.heads // self.groups
        q = self.q(x).view(b, t, self.groups, times, self.d).permute(0, 2, 3, 1, 4).reshape(b, self.heads, t, self.d)
        k, v = self.kv(x).view(b, t, 2, self.groups, self.d).permute(2, 0, 3, 1, 4).chunk(2)
        k, v = k[0].repeat(1, times, 1, 1), v[0].repeat(1, times, 1, 1)
        weights = (q @ k.mT * self.d**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, -1))


class Windows(nn.Module):
    def __init__(self, width, windows):
        super().__init__()
        self.windows = windows
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask):
        b, t, c = x.shape
        s = t // self.windows
        q, k, v = self.qkv(x.view(b, self.windows, s, c).reshape(b * self.windows, s, c)).chunk(3, dim=-1)
        weights = (q @ k.transpose(1, 2) * c**-0.5 + mask.repeat(b, 1, 1)).softmax(-1)
        return self.out(weights @ v).view(b, t, c)


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x, hidden):
        b, t, _ = x.shape
        same = torch.zeros(t, t, dtype=torch.bool, device=x.device).repeat(b * self.heads, 1, 1)
        y, _ = self.attend(x, x, x, attn_mask=hidden.logical_not().repeat_interleave(self.heads, 0), need_weights=False)
        z, _ = self.attend(x, x, x, attn_mask=same.expand(b * self.heads, t, t), need_weights=False)
        return y + z
