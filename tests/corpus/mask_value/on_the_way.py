# run: Talking(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Buffered(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Steadied(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Sliced(32, 4)(torch.randn(2, 5, 32))
# run: Cast(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# fix: unsafe
"""Scores that are mixed across heads, added to an empty buffer, or steadied, before they are filled with too little."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)

    def merge(self, scores, v):
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Talking(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.mix = nn.Linear(heads, heads, bias=False)

    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = self.mix(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        scores = scores.masked_fill(mask == 0, -1e-9)  # expect: MHA111
        return self.merge(scores, v)


class Buffered(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        b, h, t, d = q.shape
        buffer = torch.zeros(b * h, t, t, dtype=q.dtype, device=q.device)
        q, k = q.reshape(b * h, t, d), k.reshape(b * h, t, d)
        scores = torch.baddbmm(buffer, q, k.transpose(1, 2), alpha=d**-0.5).view(b, h, t, t)
        scores = scores.masked_fill(mask == 0, 0.0)  # expect: MHA111
        return self.merge(scores, v)


class Steadied(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores - torch.max(scores, dim=-1, keepdim=True)[0]
        mask = (mask == 0).view(x.shape[0], 1, 1, -1).expand_as(scores)
        scores = scores.masked_fill(mask, 0.0)  # expect: MHA111
        return self.merge(scores, v)


class Sliced(Base):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.register_buffer("past", torch.tril(torch.ones(1, 1, 64, 64)))

    def forward(self, x):
        q, k, v = self.split(x)
        query_length, key_length = q.shape[-2], k.shape[-2]
        scores = q @ k.mT * q.shape[-1] ** -0.5
        past = self.past[:, :, key_length - query_length : key_length, :key_length]
        scores = scores.masked_fill(past == 0, 0.0)  # expect: MHA111
        return self.merge(scores, v)


class Cast(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.float().masked_fill_(mask == 0, -1e-9)  # expect: MHA111
        return self.merge(scores.to(v.dtype), v)
