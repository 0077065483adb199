# run: Laid(32, 4)(torch.randn(2, 5, 32))
# run: Masked(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Cast(32, 4)(torch.randn(2, 5, 32))
# fix: none (nothing shows which was meant, or what is masked has no name)
"""Results that nobody takes, of calls that were not meant to mask; and a mask of a part."""
import torch
import torch.nn.functional as F
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)


class Laid(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        y = F.scaled_dot_product_attention(q, k, v)
        y.contiguous()  # expect: MHA114
        y = y.transpose(1, 2)
        y.reshape(x.shape)  # expect: MHA114
        torch.flatten(y, 2)  # expect: MHA114
        return self.out(y.flatten(2))


class Masked(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask.unsqueeze(1)  # expect: MHA114
        mask.unsqueeze(1).unsqueeze(2)  # expect: MHA114
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores[:, 0].masked_fill(mask[:, None] == 0, float("-inf"))  # expect: MHA114
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Cast(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores.float()  # expect: MHA114
        scores.clamp(-50, 50)  # expect: MHA114
        weights = scores.softmax(dim=-1)
        weights.to(v.dtype)  # expect: MHA114
        torch.tril(weights)  # expect: MHA114
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class EachOfSome(nn.Module):
    def forward(self, q, k, v):
        scores = q @ k.transpose(-2, -1)
        for dim in (1, 2):
            scores.unsqueeze(dim)  # expect: MHA114
        return scores.softmax(dim=-1) @ v
