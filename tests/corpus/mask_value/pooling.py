# run: Bags(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Columns(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Summed(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Lengths(32)(torch.randn(2, 5, 32), torch.tensor([3, 5]))
# run: Tiny(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Function(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Chosen(32)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Read(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# fix: none (what masks is no fill, or the scores have no name there)
"""Learned scores, by which a softmax weights what they are made of, and which are masked with about 0."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, 1))
        self.head = nn.Linear(dim, 3)


class Bags(Base):
    def forward(self, h, mask):
        a = self.score(h).squeeze(-1) * mask  # expect: MHA111
        return self.head(torch.einsum("bn,bnd->bd", F.softmax(a, dim=-1), h))


class Columns(Base):
    def forward(self, h, mask):
        b, n, d = h.shape
        a = self.score(h)
        a = a * mask.unsqueeze(-1).float()  # expect: MHA111
        a = torch.softmax(a, dim=1)
        return self.head(torch.bmm(a.transpose(1, 2), h).squeeze(1))


class Summed(Base):
    def forward(self, h, pad_mask):
        a = self.score(h)
        a.mul_(pad_mask[..., None])  # expect: MHA111
        weights = a.softmax(dim=1)
        return self.head((weights * h).sum(dim=1))


class Lengths(Base):
    def forward(self, h, lengths):
        b, n, d = h.shape
        valid = torch.arange(n, device=h.device)[None, :] < lengths[:, None]
        a = self.score(h).view(b, n) * valid  # expect: MHA111
        return self.head(torch.bmm(a.softmax(-1).unsqueeze(1), h).squeeze(1))


class Tiny(Base):
    def forward(self, h, mask):
        weights = self.score(h).squeeze(-1).masked_fill(mask == 0, -1e-9).softmax(dim=-1)  # expect: MHA111
        return self.head(torch.einsum("bn,bnd->bd", weights, h))


class Function(Base):
    def forward(self, h, mask):
        a = self.score(h).squeeze(-1)
        a = a * mask.float()  # expect: MHA111
        weights = torch.softmax(a, dim=1)
        return self.head(torch.sum(h * weights.unsqueeze(-1), dim=1))


class Chosen(Base):
    def forward(self, h, mask):
        a = self.score(h)
        a = torch.where(mask[..., None] == 0, torch.zeros_like(a), a)  # expect: MHA111
        return self.head(torch.einsum("bnk,bnd->bkd", a.softmax(1), h).squeeze(1))


class Read(nn.Module):
    """Of queries and keys; what the mask holds, its name tells alone."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        scores = q @ k.mT * k.size(-1) ** -0.5
        scores = scores * mask  # expect: MHA111
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
