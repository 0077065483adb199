# run: Made(32, 4)(torch.randn(2, 5, 32))
# run: Like(32, 4)(torch.randn(2, 5, 32))
# run: Cast(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5))
# run: Kept(32, 4)(torch.randn(2, 5, 32))
# fix: unsafe
"""What float16 can't hold is written into a mask, which is added to the scores later."""
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


class Made(Base):
    """In the type of the input."""

    def forward(self, x):
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        bias = torch.zeros(t, t, dtype=x.dtype, device=x.device)
        bias = bias.masked_fill(future, -1e9)  # expect: MHA108
        return self.attend(x, bias)


class Like(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.mT * k.size(-1) ** -0.5
        bias = torch.zeros_like(scores)
        bias.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(1), -1e20)  # expect: MHA108
        scores += bias
        return self.out((F.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2))


class Cast(Base):
    def forward(self, x, mask):
        bias = mask[:, None, None, :].to(dtype=x.dtype)
        bias = bias.masked_fill(bias == 0, value=-1e6)  # expect: MHA108
        bias = bias.masked_fill(bias == 1, 0.0)
        return self.attend(x, bias)


class Kept(Base):
    """A buffer is half where the module is."""

    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        self.register_buffer("past", torch.tril(torch.ones(longest, longest)))

    def forward(self, x):
        past = self.past[: x.shape[1], : x.shape[1]]
        bias = past.masked_fill(past == 0, -1e9)  # expect: MHA108
        return self.attend(x, bias)
