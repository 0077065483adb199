# run: Encoder(50, 32, 4)(IDS)
# run: Fused(50, 32, 4)(IDS)
# run: ByHand(50, 32, 4)(IDS)
# run: Counted(50, 32, 4)(IDS, torch.tensor([5, 3]))
# run: Stack(50, 32, 4)(IDS)
# run: Given(50, 32, 4)(IDS, IDS == 0)
# run: Pooled(50, 32)(IDS)
# run: Crossed(50, 32, 4)(IDS)
# run: Beside(50, 32, 4)(IDS)
# run: OfQueries(50, 32, 4)(IDS, torch.randn(2, 7, 32))
# run: SequenceFirst(50, 32, 4)(IDS.T)
# run: Prefix(50, 32, 4)(IDS, torch.tensor([2, 1]))
"""Padding masks that hide padding, and what looks like one and isn't."""
import torch
import torch.nn.functional as F
from torch import nn

PAD_ID = 0
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


class Encoder(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, ids):
        x = self.embed(ids)
        y, _ = self.attend(x, x, x, key_padding_mask=~(ids != PAD_ID), need_weights=False)
        return x + y


class Fused(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        mask = (ids == self.pad_idx)[:, None, None, :]
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask.logical_not()))


class ByHand(Embedded):
    def forward(self, ids):
        scores, v = self.scores(ids)
        keep = (ids != self.pad_idx).unsqueeze(1).unsqueeze(2)
        scores = scores.masked_fill(keep == 0, -1e4)
        return self.merge(scores.softmax(-1) @ v)


class Counted(Embedded):
    def forward(self, ids, lengths):
        scores, v = self.scores(ids)
        keep = torch.arange(ids.size(1), device=ids.device)[None, :] < lengths[:, None]
        scores = scores + (1.0 - keep[:, None, None].float()) * -1e4
        return self.merge(scores.softmax(-1) @ v)


class Stack(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 64, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, input_ids):
        return self.encoder(self.embed(input_ids), src_key_padding_mask=input_ids == 0)


class Given(Embedded):
    """What True means in a mask that is given, its name does not say for sure."""

    def forward(self, ids, padding_mask):
        q, k, v = self.split(ids)
        scores = (q @ k.transpose(-2, -1) * q.size(-1) ** -0.5).masked_fill(padding_mask[:, None, None], -1e4)
        return self.merge(scores.softmax(-1) @ v)


class Pooled(nn.Module):
    """Scores of tokens, one a token: the column is where the tokens are."""

    def __init__(self, vocabulary, dim):
        super().__init__()
        self.embed, self.score = nn.Embedding(vocabulary, dim), nn.Linear(dim, 1)

    def forward(self, ids):
        x = self.embed(ids)
        scores = self.score(x).masked_fill((ids == PAD_ID).unsqueeze(-1), -1e4)
        return (scores.softmax(1) * x).sum(1)


class Crossed(Embedded):
    """Rows and columns: one mask of both."""

    def forward(self, ids):
        scores, v = self.scores(ids)
        keep = (ids != self.pad_idx)[:, None]
        both = keep.unsqueeze(-1) & keep.unsqueeze(-2)
        return self.merge(scores.masked_fill(~both, -1e4).softmax(-1) @ v)


class Beside(Embedded):
    """Rows and columns, one after the other."""

    def forward(self, ids):
        scores, v = self.scores(ids)
        keep = (ids != self.pad_idx)[:, None]
        scores = scores.masked_fill(~keep.unsqueeze(-1), -1e4)
        scores = scores.masked_fill(~keep.unsqueeze(-2), -1e4)
        return self.merge(scores.softmax(-1) @ v)


class OfQueries(Embedded):
    """Padded queries attend to a memory that has no padding: what they get is not looked at."""

    def forward(self, ids, memory):
        b, t = ids.shape
        q, k, v = self.qkv(self.embed(ids)).chunk(3, -1)
        k, v = k[:, :1] + memory, v[:, :1] + memory
        q, k, v = (x.view(b, -1, self.heads, x.size(-1) // self.heads).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        scores = scores.masked_fill((ids == self.pad_idx)[:, None, :, None], -1e4)
        return self.merge(scores.softmax(-1) @ v)


class SequenceFirst(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.attend = nn.MultiheadAttention(dim, heads)

    def forward(self, ids):
        x = self.embed(ids)
        mask = (ids == PAD_ID).transpose(0, 1)
        y, _ = self.attend(x, x, x, key_padding_mask=mask, need_weights=False)
        return x + y


class Prefix(Embedded):
    """All see the prefix: the positions below are no tokens against padding."""

    def forward(self, ids, prefix_lens):
        q, k, v = self.split(ids)
        t = ids.size(1)
        past = torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        beyond = torch.arange(t, device=ids.device)[None, :] >= prefix_lens[:, None]
        hidden = beyond[:, None, None, :] & ~past
        scores = (q @ k.transpose(-2, -1) * q.size(-1) ** -0.5).masked_fill(hidden, -1e4)
        return self.merge(scores.softmax(-1) @ v)
