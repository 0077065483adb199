# run: Embedded(50, 32)(torch.randint(0, 50, (2, 7)))
# run: Names(50, 32)(torch.randint(0, 50, (2, 7)))
# fix: unsafe
"""Entries are numbered, not tokens."""

import torch
import torch.nn as nn


class Embedded(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(512, d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)

    def forward(self, ids):
        x = self.tok(ids)
        where = torch.arange(ids.size(0), device=ids.device).unsqueeze(1)
        x = x + self.pos(where)  # expect: MHA116
        return self.attn(x, x, x, need_weights=False)[0]


class Names(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.register_buffer("pe", torch.randn(512, 1, d))
        self.tok = nn.Embedding(vocab, d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.fc = nn.Linear(d, 2)

    def forward(self, ids):
        b, _ = ids.shape
        x = self.tok(ids) + self.pe[:b]  # expect: MHA116
        return self.fc(self.attn(x, x, x, need_weights=False)[0].mean(dim=1))
