# run: Encoder(50, 32, 4)(IDS)
# run: Fused(50, 32, 4)(IDS)
# run: ByHand(50, 32, 4)(IDS)
# run: ByChoice(50, 32, 4)(IDS)
# run: Translation(50, 32, 4)(IDS, IDS)
# run: Stack(50, 32, 4)(IDS)
# run: Helped(50, 32, 4)(IDS)
# fix: unsafe
"""Padding masks that hide the tokens and show the padding."""
import torch
import torch.nn.functional as F
from torch import nn

PAD_ID = 0
IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 1, 0, 0]])


def tokens_of(ids, pad_id):
    return ids.ne(pad_id)


class Embedded(nn.Module):
    def __init__(self, vocabulary, dim, heads, pad_idx=0):
        super().__init__()
        self.heads, self.pad_idx = heads, pad_idx
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=pad_idx)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, ids):
        b, t = ids.shape
        return self.qkv(self.embed(ids)).view(b, t, 3, self.heads, -1).transpose(1, 3).unbind(2)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, ids):
        x = self.embed(ids)
        y, _ = self.attend(x, x, x, key_padding_mask=ids != PAD_ID, need_weights=False)  # expect: MHA106
        return x + y


class Fused(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        mask = (ids == self.pad_idx)[:, None, None, :]
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))  # expect: MHA106


class ByHand(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        keep = ids.ne(self.pad_idx).unsqueeze(1).unsqueeze(2)
        scores = scores.masked_fill(keep, -1e4)  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)


class ByChoice(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        pad = torch.eq(ids, self.embed.padding_idx)[:, None, None]
        scores = torch.where(pad, scores, -1e4)  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)


class Translation(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.layer = nn.TransformerDecoderLayer(dim, heads, 64, 0.0, batch_first=True)

    def forward(self, src, tgt):
        memory, x = self.embed(src), self.embed(tgt)
        hidden = ~(src == PAD_ID)
        return self.layer(x, memory, memory_key_padding_mask=hidden)  # expect: MHA106


class Helped(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        mask = tokens_of(ids, self.pad_idx)
        mask = mask[:, None, None, :].logical_not()
        return self.merge(F.scaled_dot_product_attention(q, k, v, mask))  # expect: MHA106


class Stack(nn.Module):
    def __init__(self, vocabulary, dim, heads):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 64, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids):
        keep = input_ids != 0
        return self.encoder(self.embed(input_ids), src_key_padding_mask=keep)  # expect: MHA106
