# run: Decoder(50, 32, 4)(IDS)
# run: Indexed(50, 32, 4)(IDS)
# run: Last(50, 32, 4)(IDS)
# run: Fused(50, 32, 4)(IDS)
# run: Chosen(50, 32, 4)(IDS)
# run: Dots(50, 32, 4)(IDS)
# fix: unsafe
"""Padding masks that are laid along the queries: padded keys stay visible."""
import torch
import torch.nn.functional as F
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


class Decoder(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        t = ids.size(1)
        past = torch.tril(torch.ones(t, t, device=ids.device)).bool()
        keep = (ids != self.pad_idx).unsqueeze(1).unsqueeze(3)  # expect: MHA106
        scores = scores.masked_fill((keep & past) == 0, -1e4)
        return self.merge(scores.softmax(-1) @ v)


class Indexed(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        pad = ids == self.pad_idx
        scores = scores.masked_fill(pad[:, None, :, None], -1e4)  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)


class Last(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        pad = ids.eq(self.pad_idx).unsqueeze(1)
        scores = scores.masked_fill(pad.unsqueeze(-1), -1e4)  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)


class Fused(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        keep = torch.ne(ids, self.pad_idx)[:, None, :, None]  # expect: MHA106
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=keep))


class Chosen(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        keep = (ids != self.pad_idx)[:, None]
        keep = keep[..., None]  # expect: MHA106
        scores = torch.where(keep, scores, -1e4)
        return self.merge(scores.softmax(-1) @ v)


class Dots(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        hidden = (1 - (ids != self.pad_idx).float()) * -1e4
        scores = scores + hidden[:, None, :, None]  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)
