# run: Added(50, 32, 4)(IDS)
# run: Joined(50, 32, 4)(IDS)
# fix: none (the mask is joined with another one, or added where it is made)
"""Padding masks that hide the tokens, joined with others or added to scores."""
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

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Added(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        hidden = (ids != self.pad_idx).float()[:, None, None, :] * -1e4
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5 + hidden  # expect: MHA106
        return self.merge(scores.softmax(-1) @ v)


class Joined(Embedded):
    def forward(self, ids):
        q, k, v = self.split(ids)
        t = ids.size(1)
        past = torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        mask = past & (ids == self.pad_idx)[:, None, None, :]
        return self.merge(F.scaled_dot_product_attention(q, k, v, mask))  # expect: MHA106
