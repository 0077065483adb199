# run: Repeated(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Unfolded(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: PerHead(32, 4)(torch.randn(2, 5, 32), torch.ones(8, 5, 5).bool())
# run: Square(32, 4)(torch.randn(5, 5, 32))
# run: Grouped(32, 4)(torch.randn(2, 5, 32))
# run: Handed(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Checked(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 5))
# run: Layered(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: RowsOfOneHead(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: OnePath(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
"""Shapes that meet: masks that are repeated or unfolded, one for each head, squares, and sizes that may be alike."""
import torch
import torch.nn.functional as F
from einops import repeat
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def folded(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        split = (b, t, self.heads, c // self.heads)
        return [y.reshape(split).transpose(1, 2).reshape(b * self.heads, t, -1) for y in (q, k, v)]

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def unfold(self, y, b):
        return self.out(y.reshape(b, self.heads, y.shape[1], -1).transpose(1, 2).flatten(2))


class Repeated(Base):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        both = (mask[:, :, None] & mask[:, None, :]).repeat_interleave(self.heads, dim=0)
        scores = scores.masked_fill(~both, torch.finfo(scores.dtype).min)
        rows = repeat(mask, "b j -> (b h) 1 j", h=self.heads)
        scores = scores.masked_fill(~rows, torch.finfo(scores.dtype).min)
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class Unfolded(Base):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.view(b, self.heads, t, t).masked_fill(~mask[:, None, None, :], float("-inf"))
        weights = scores.softmax(dim=-1).view(b * self.heads, t, t)
        return self.unfold(weights @ v, b)


class PerHead(Base):
    """The caller gives a mask for each head of each entry."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask[:, :, :t], float("-inf"))
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class Square(Base):
    """Pairs of residues (n, n, c): rows attend, with a bias of the pair."""

    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.bias = nn.Linear(dim, heads)

    def forward(self, z):
        q, k, v = self.split(z)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores + self.bias(z).permute(2, 0, 1)
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)) + z.transpose(0, 1)


class Grouped(Base):
    """As many groups as heads unless the settings say otherwise."""

    def __init__(self, dim, heads, groups=None):
        super().__init__(dim, heads)
        self.groups = groups or heads

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(b, t, self.heads, d).transpose(1, 2)
        k, v = (y.view(b, t, self.groups, d).transpose(1, 2) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(((q @ k.mT * d**-0.5).softmax(dim=-1) @ v + y).transpose(1, 2).flatten(2))


def attend(q, k, v, mask):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v


class Handed(Base):
    """A function that is handed what fits."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        return self.unfold(attend(q, k, v, mask.repeat_interleave(self.heads, 0).unsqueeze(1)), b)


class Checked(Base):
    """The mask gets the dimensions that it lacks."""

    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if mask.dim() == 2:
            mask = mask[:, None, None, :]
        elif mask.dim() == 3:
            mask = mask.unsqueeze(1)
        scores = scores + mask
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Layered(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x, mask):
        b, t, c = x.shape
        hidden = (~mask).view(b, 1, t).expand(b, t, t).repeat_interleave(self.heads, dim=0)
        y = self.attend(x, x, x, attn_mask=hidden, need_weights=False)[0]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        return y + self.attend(x, x, x, attn_mask=future, need_weights=False)[0]


class OnePath(Base):
    """The heads are folded where the mask is repeated: a flag tells both."""

    def forward(self, x, mask, folds=True):
        b, t, c = x.shape
        q, k, v = self.folded(x) if folds else self.split(x)
        keep = mask.view(b, 1, t)
        if folds:
            keep = keep.repeat_interleave(self.heads, dim=0)
        else:
            keep = keep.unsqueeze(1)
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~keep, float("-inf"))
        y = scores.softmax(dim=-1) @ v
        return self.unfold(y, b) if folds else self.out(y.transpose(1, 2).flatten(2))


class RowsOfOneHead(Base):
    """A mask (b, 1, t) for scores (b, t, t), and one (t, t) for all entries."""

    def forward(self, x, mask):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
        scores = scores + torch.zeros(x.shape[1], x.shape[1], device=x.device)
        return self.out(scores.softmax(dim=-1) @ v)
