# run: Tutorial(50, 32).eval()(torch.randint(0, 50, (7, 2)))
# run: Turned(50, 32).eval()(torch.randint(0, 50, (2, 7)))
# run: Permuted(3, 32).eval()(torch.randn(2, 7, 3))
# run: BatchFirst(3, 32).eval()(torch.randn(2, 7, 3))
# run: Whole(50, 32).eval()(torch.randint(0, 50, (2, 7)))
# run: OfEntries(3, 32).eval()(torch.randn(2, 7, 3), torch.randn(2, 3))
# run: OfTime(3, 32).eval()(torch.randn(2, 7, 3), torch.tensor([3, 5]))
"""Tables that run along the tokens, and what is added to each entry on purpose."""

import torch
import torch.nn as nn


class PositionalEncoding(nn.Module):
    def __init__(self, d, longest=500):
        super().__init__()
        self.register_buffer("pe", torch.zeros(longest, 1, d))

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class Tutorial(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.tok, self.pe = nn.Embedding(vocab, d), PositionalEncoding(d)
        self.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, 4, 64), 2)
        self.dec = nn.Linear(d, vocab)

    def forward(self, src):
        return self.dec(self.enc(self.pe(self.tok(src))))


class Turned(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.tok, self.pe = nn.Embedding(vocab, d), PositionalEncoding(d)
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, ids):
        b, t = ids.shape
        x = self.tok(ids).transpose(0, 1)
        x = self.pe(x).transpose(0, 1)
        return self.enc(x).mean(dim=1)


class Permuted(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.inp, self.pe = nn.Linear(i, d), PositionalEncoding(d)
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, src):
        x = self.inp(src)
        x = self.pe(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.enc(x)


class BatchFirst(nn.Module):
    def __init__(self, i, d):
        super().__init__()
        self.inp = nn.Linear(i, d)
        self.register_buffer("pe", torch.zeros(1, 500, d))
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, src):
        x = self.inp(src)
        return self.enc(x + self.pe[:, : x.size(1)])


class Whole(nn.Module):
    """(t, c) is broadcast along the batch."""

    def __init__(self, vocab, d):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(512, d)
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, ids):
        return self.enc(self.tok(ids) + self.pos(torch.arange(ids.size(1), device=ids.device)))


class OfEntries(nn.Module):
    """Conditions: one row for each entry, the same for all of its tokens."""

    def __init__(self, i, d):
        super().__init__()
        self.inp, self.cond = nn.Linear(i, d), nn.Linear(3, d)
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, x, cond):
        x = self.inp(x)
        b = x.size(0)
        x = x + self.cond(cond).view(b, 1, -1)
        return self.enc(x)


class OfTime(nn.Module):
    """A diffusion's time step is embedded for each entry."""

    def __init__(self, i, d):
        super().__init__()
        self.inp, self.time = nn.Linear(i, d), nn.Embedding(1000, d)
        self.enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True)

    def forward(self, x, steps):
        x = self.inp(x) + self.time(steps).unsqueeze(1)
        return self.enc(x)
