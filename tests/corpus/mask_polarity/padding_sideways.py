# run: Shaped(50, 32, 4)(IDS)
# run: Sideways(50, 32, 4)(IDS)
# run: Named(50, 32, 4)(IDS)
# fix: none (the dimensions are not laid out by `unsqueeze` or `None`)
"""Padding masks that are laid along the queries by a view, a transpose or a pattern."""
import torch
from einops import rearrange
from torch import nn

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 1, 0, 0]])


class Embedded(nn.Module):
    def __init__(self, vocabulary, dim, heads, pad_idx=0):
        super().__init__()
        self.heads, self.pad_idx = heads, pad_idx
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=pad_idx)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, ids):
        b, t = ids.shape
        return self.qkv(self.embed(ids)).view(b, t, 3, self.heads, -1).transpose(1, 3).unbind(2)

    def scores(self, ids):
        q, k, v = self.split(ids)
        return q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, v

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Shaped(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        b, t = ids.shape
        pad = (ids == self.pad_idx).view(b, 1, t, 1)  # expect: MHA106
        return self.merge(scores.masked_fill(pad, -1e4).softmax(-1) @ v)


class Sideways(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        pad = (ids == self.pad_idx)[:, None, None].transpose(-1, -2)  # expect: MHA106
        return self.merge(scores.masked_fill(pad, -1e4).softmax(-1) @ v)


class Named(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        pad = rearrange(ids == self.pad_idx, "b t -> b 1 t 1")  # expect: MHA106
        return self.merge(scores.masked_fill(pad, -1e4).softmax(-1) @ v)
