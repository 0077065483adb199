# run: TextClassifier(50, 32, 4, 3).eval()(torch.randint(0, 50, (2, 7)))
# run: Caller(50, 32, 2, 16).eval()(torch.randint(0, 50, (2, 7)))
# run: WithPe(6, 32).eval()(torch.randn(2, 7, 6))
# fix: unsafe
"""Sentences (b, t) become (b, t, c), and meet layers that take (t, b, c)."""

import torch
import torch.nn as nn


class TextClassifier(nn.Module):
    def __init__(self, vocab, d, heads, classes, longest=512):
        super().__init__()
        self.embed = nn.Embedding(vocab, d)
        self.pos = nn.Parameter(torch.zeros(1, longest, d))
        layer = nn.TransformerEncoderLayer(d, heads)  # expect: MHA117
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.fc = nn.Linear(d, classes)

    def forward(self, ids):
        x = self.embed(ids) + self.pos[:, : ids.size(1)]
        x = self.encoder(x)
        return self.fc(x.mean(dim=1))


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 4)  # expect: MHA117

    def forward(self, x):
        y = self.norm(x)
        return x + self.attn(y, y, y, need_weights=False)[0]


class Caller(nn.Module):
    def __init__(self, vocab, d, depth, longest):
        super().__init__()
        self.tok = nn.Embedding(vocab, d)
        self.pos = nn.Embedding(longest, d)
        self.blocks = nn.ModuleList([Block(d) for _ in range(depth)])
        self.head = nn.Linear(d, vocab)

    def forward(self, ids):
        b, t = ids.shape
        x = self.tok(ids) + self.pos(torch.arange(t, device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class Pe(nn.Module):
    def __init__(self, d, longest=5000):
        super().__init__()
        pe = torch.zeros(longest, d)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class WithPe(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.inp = nn.Linear(i, d)
        self.pe = Pe(d)
        enc = nn.TransformerEncoderLayer(d, 4, 256, 0.1)  # expect: MHA117
        self.enc = nn.TransformerEncoder(enc, 2)
        self.out = nn.Linear(d, 1)

    def forward(self, x):
        x = self.pe(self.inp(x))
        x = self.enc(x)
        return self.out(x[:, -1, :])
