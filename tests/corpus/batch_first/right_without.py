# run: Tutorial(50, 32).eval()(torch.randint(0, 50, (7, 2)))
# run: Detr(32).eval()(torch.randn(2, 3, 5, 7))
# run: Transposes(32).eval()(torch.randn(2, 7, 32))
# run: SeqFirstLstm(32).eval()(torch.randn(7, 2, 32))
# run: Pool(32).eval()(torch.randn(2, 32, 7, 7))
# run: ClipVision(32).eval()(torch.randn(2, 3, 224, 224))
# run: Swaps(32).eval()(torch.randn(2, 32, 3, 5))
# run: Frames(32).eval()(torch.randn(3, 5, 32))
# run: UsesSubclass(32).eval()(torch.randn(2, 3, 7))
# run: Kw(32, batch_first=True).eval()(torch.randn(2, 3, 7))
# run: BatchFormer(32).eval()(torch.randn(2, 3, 7))
# run: NamesAlone(32).eval()(torch.randn(2, 7, 32))
# run: FoldedTokensFirst(32).eval()(torch.randn(2, 3, 5, 32))
# run: QueriesOfTokensFirst(32, 5).eval()(torch.randn(2, 7, 32))
# run: Queries(32, 5).eval()(torch.randn(7, 2, 32))
"""Layers without `batch_first=True` that are right, meant, or not known well enough."""

import torch
import torch.nn as nn


class Pe(nn.Module):
    def __init__(self, d, longest=5000):
        super().__init__()
        self.register_buffer("pe", torch.zeros(longest, 1, d))

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class Tutorial(nn.Module):
    def __init__(self, ntoken, d):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, d)
        self.pos = Pe(d)
        self.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, 4, 256), 2)
        self.dec = nn.Linear(d, ntoken)

    def forward(self, src, src_mask=None):
        src = self.encoder(src) * 16
        src = self.pos(src)
        if src_mask is None:
            src_mask = nn.Transformer.generate_square_subsequent_mask(len(src))
        return self.dec(self.enc(src, src_mask))


class Detr(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv2d(3, d, 1)
        self.transformer = nn.Transformer(d, 8, 2, 2)
        self.query_pos = nn.Parameter(torch.rand(100, d))
        self.row = nn.Parameter(torch.rand(50, d // 2))
        self.col = nn.Parameter(torch.rand(50, d // 2))
        self.head = nn.Linear(d, 4)

    def forward(self, x):
        h = self.conv(x)
        H, W = h.shape[-2:]
        columns, rows = self.col[:W].unsqueeze(0).repeat(H, 1, 1), self.row[:H].unsqueeze(1).repeat(1, W, 1)
        pos = torch.cat([columns, rows], -1).flatten(0, 1).unsqueeze(1)
        h = self.transformer(
            pos + 0.1 * h.flatten(2).permute(2, 0, 1), self.query_pos.unsqueeze(1).expand(-1, x.shape[0], -1)
        ).transpose(0, 1)
        return self.head(h)


class Transposes(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.lstm = nn.LSTM(d, d, batch_first=True)
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        h, _ = self.lstm(x)
        h = h.transpose(0, 1)
        y, _ = self.attn(h, h, h, need_weights=False)
        return y.transpose(0, 1).mean(1)


class SeqFirstLstm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.lstm = nn.LSTM(d, d)
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        t, b, _ = x.shape
        h, _ = self.lstm(x)
        return self.attn(h, h, h, need_weights=False)[0].mean(0)


class Pool(nn.Module):
    """The mean of all tokens attends to them, the tokens first."""

    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)
        self.pos = nn.Parameter(torch.randn(50, d))

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(dim=0, keepdim=True), x], dim=0)
        x = x + self.pos[:, None, :]
        x, _ = self.attn(x[:1], x, x, need_weights=False)
        return x.squeeze(0)


class ClipVision(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv2d(3, d, 16, 16)
        self.cls = nn.Parameter(torch.randn(d))
        self.pos = nn.Parameter(torch.randn(197, d))
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        x = self.conv(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)
        x = torch.cat([self.cls + x.new_zeros(x.shape[0], 1, x.shape[-1]), x], dim=1)
        x = x + self.pos
        x = x.permute(1, 0, 2)
        x = self.attn(x, x, x, need_weights=False)[0]
        x = x.permute(1, 0, 2)
        return x[:, 0]


class Swaps(nn.Module):
    """Axial: rows attend, then columns."""

    def __init__(self, d):
        super().__init__()
        self.rows = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        b, c, h, w = x.shape
        y = x.permute(3, 0, 2, 1).reshape(w, b * h, c)
        y = self.rows(y, y, y, need_weights=False)[0]
        return y.view(w, b, h, c).permute(1, 3, 2, 0)


class Frames(nn.Module):
    """Tokens of a video: frames attend to frames."""

    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        t, n, c = x.shape
        y = self.attn(x, x, x, need_weights=False)[0]
        return y.mean(1)


class Subclass(nn.TransformerEncoderLayer):
    def __init__(self, d):
        super().__init__(d, 4, batch_first=True)


class UsesSubclass(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv1d(3, d, 1)
        self.layer = Subclass(d)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        return self.layer(x).mean(1)


class Kw(nn.Module):
    def __init__(self, d, **kw):
        super().__init__()
        self.conv = nn.Conv1d(3, d, 1)
        self.layer = nn.TransformerEncoderLayer(d, 4, **kw)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        return self.layer(x).mean(1)


class BatchFormer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv1d(3, d, 1)
        self.layer = nn.TransformerEncoderLayer(d, 4)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        return self.layer(x).mean(1)


class NamesAlone(nn.Module):
    """One piece of evidence is too little."""

    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        batch_size, seq_len, _ = x.size()
        y, _ = self.attn(x, x, x, need_weights=False)
        return y.view(batch_size, seq_len, -1)


class Queries(nn.Module):
    """Learned queries, tokens first."""

    def __init__(self, d, n):
        super().__init__()
        self.query = nn.Parameter(torch.randn(n, 1, d))
        self.attend = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        b = x.shape[1]
        q = self.query.repeat(1, b, 1)
        return self.attend(q, x, x, need_weights=False)[0]


class FoldedTokensFirst(nn.Module):
    """(n, b*t, c): what each step of each entry holds stands first."""

    def __init__(self, d):
        super().__init__()
        self.attn = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        b, t, n, c = x.shape
        y = x.reshape(b * t, n, c).transpose(0, 1)
        y = self.attn(y, y, y, need_weights=False)[0]
        return y.mean(dim=0).view(b, t, c)


class QueriesOfTokensFirst(nn.Module):
    """Queries of its own, (n, b, c), and their results made one vector for each entry."""

    def __init__(self, d, n):
        super().__init__()
        self.query = nn.Parameter(torch.randn(n, 1, d))
        self.attend = nn.MultiheadAttention(d, 4)

    def forward(self, x):
        x = x.transpose(0, 1)
        q = self.query.expand(-1, x.shape[1], -1)
        return self.attend(q, x, x, need_weights=False)[0].transpose(0, 1).flatten(1)
