# run: Given(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Fused(32, 4)(torch.randn(2, 5, 32), torch.zeros(2, 1, 1, 5))
# run: InAFunction(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# fix: none (the mask may hold whole numbers)
"""What float16 can't hold is written into a mask that is given, and is added to the scores later."""
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

    def attend(self, x, bias):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5 + bias
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Given(Base):
    def forward(self, x, mask=None):
        if mask is not None:
            mask = mask.masked_fill(mask == 0, -1e8)  # expect: MHA108
        return self.attend(x, mask)


class Fused(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        bias = mask.masked_fill(mask != 0, -1e9)  # expect: MHA108
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(y.transpose(1, 2).flatten(2))


def lowered(mask):
    return torch.masked_fill(mask, mask == 0, -1e10)  # expect: MHA108


class InAFunction(Base):
    def forward(self, x, mask):
        return self.attend(x, lowered(mask))
