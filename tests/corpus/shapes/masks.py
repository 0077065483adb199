# not run: each class raises for a batch of 2 and 4 heads, as its mark says
# fix: none (the shapes do not tell which of the two is meant to change)
"""Masks without the heads, for scores whose heads are folded into the batch, or stand in a dimension of their own."""
import torch
import torch.nn.functional as F
from einops import rearrange
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


class Pairs(Base):
    """A mask of pairs, made of one for each token."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        both = mask[:, :, None] & mask[:, None, :]
        scores = scores.masked_fill(~both, torch.finfo(scores.dtype).min)  # expect: MHA124
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class Inserted(Base):
    def forward(self, x, pad_mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
        both = pad_mask.unsqueeze(1) * pad_mask.unsqueeze(-1)
        scores.masked_fill_(both == 0, float("-inf"))  # expect: MHA124
        return self.unfold(torch.bmm(F.softmax(scores, dim=-1), v), b)


class Added(Base):
    """An additive mask for each entry."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        bias = torch.zeros(b, 1, t, device=x.device).masked_fill(mask.view(b, 1, t), float("-inf"))
        scores = scores + bias  # expect: MHA124
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class InPlace(Base):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = torch.baddbmm(x.new_zeros(1), q, k.mT, beta=0, alpha=q.shape[-1] ** -0.5)
        scores += mask.view(b, t, t)  # expect: MHA124
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class ByPattern(Base):
    def forward(self, x, mask):
        q, k, v = (rearrange(y, "b n (h d) -> (b h) n d", h=self.heads) for y in self.qkv(x).chunk(3, dim=-1))
        sim = torch.einsum("b i d, b j d -> b i j", q, k) * q.shape[-1] ** -0.5
        sim = sim.masked_fill(~rearrange(mask, "b j -> b 1 j"), float("-inf"))  # expect: MHA124
        y = torch.einsum("b i j, b j d -> b i d", sim.softmax(dim=-1), v)
        return self.out(rearrange(y, "(b h) n d -> b n (h d)", h=self.heads))


class Chosen(Base):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        scores = torch.bmm(q, k.mT) * q.shape[-1] ** -0.5
        scores = torch.where(mask.view(b, 1, t), scores, float("-inf"))  # expect: MHA124
        return self.unfold(scores.softmax(dim=-1) @ v, b)


class Fused(Base):
    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.folded(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.view(b, 1, t))  # expect: MHA124
        return self.unfold(y, b)


class OfEntries(Base):
    """(b, s) meets (t, s): the batch stands where the queries do."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(mask.view(b, t), float("-inf"))  # expect: MHA124
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class OfQueries(Base):
    """(b, t, s) meets (h, t, s): the batch stands where the heads do."""

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.split(x)
        past = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        seen = mask.view(b, 1, t) & past
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # expect: MHA124
        return self.out(y.transpose(1, 2).flatten(2))


class OfTheLayer(nn.Module):
    """``nn.MultiheadAttention`` wants one matrix for each head of each entry."""

    def __init__(self, dim, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x, mask):
        b, t, c = x.shape
        hidden = mask.view(b, 1, t).expand(b, t, t)
        return self.attend(x, x, x, attn_mask=hidden, need_weights=False)[0]  # expect: MHA124


class Shared(Base):
    """One key and value for all heads, which lack a dimension for them."""

    def forward(self, x):
        b, t, c = x.shape
        d = c // self.heads
        q = x.view(b, t, self.heads, d).transpose(1, 2)
        k, v = self.qkv(x)[..., : 2 * d].view(b, t, 2, d).unbind(2)
        weights = (q @ k.mT * d**-0.5).softmax(dim=-1)  # expect: MHA124
        return self.out((weights @ v.unsqueeze(1)).transpose(1, 2).flatten(2))


class Unsplit(Base):
    """Keys as wide as the model meet queries as wide as a head."""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.split(x)
        k = x.view(b, 1, t, c)
        weights = (q @ k.mT).softmax(dim=-1)  # expect: MHA124
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class OfOneHead(Base):
    """A mask (b, t) for scores (b, t, t)."""

    def forward(self, x, mask):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask.view(b, t), float("-inf"))  # expect: MHA124
        return self.out(scores.softmax(dim=-1) @ v)


class FusedOfOneHead(Base):
    def forward(self, x, mask):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        hidden = torch.zeros(b, t, device=x.device)
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=hidden))  # expect: MHA124


class BoundOnOnePath(Base):
    """Where nothing is given, the name is not bound, and nothing runs."""

    def forward(self, x=None, mask=None):
        if x is not None:
            rows = x
        b, t, _ = rows.shape
        q, k, v = self.split(rows)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask.view(b, t), float("-inf"))  # expect: MHA124
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class BuiltInManyWays(Base):
    """There are more ways to build it than are told apart: of the others, less is known."""

    def __init__(self, dim, heads, width=None, norm=False, gate=False, drop=None):
        super().__init__(dim, heads)
        width = width or dim
        self.maps, self.out = nn.Linear(dim, 3 * width), nn.Linear(width, dim)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.gate = nn.Linear(dim, dim) if gate else nn.Identity()
        self.drop = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x, mask):
        b, t, _ = x.shape
        q, k, v = self.maps(self.norm(x)).chunk(3, dim=-1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask.view(b, t), float("-inf"))  # expect: MHA124
        return self.drop(self.gate(self.out(scores.softmax(dim=-1) @ v)))
