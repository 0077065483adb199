# run: Made(32, 4)(torch.randn(2, 5, 32))
# run: Compared(32, 4)(torch.randn(2, 5, 32))
# run: Cast(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Whole(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Kept(32, 4)(torch.randn(2, 5, 32))
# run: Lowest(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: ByType(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Condition(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: Chosen(32, 4)(torch.randn(2, 5, 32))
# run: unseen(torch.randn(2, 5), torch.ones(2, 5))
"""Masks that are filled with such numbers where no float16 is met, and fills that reach no scores."""
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def attend(self, x, bias):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        scores = q @ k.mT * k.size(-1) ** -0.5 + bias
        return self.out((scores.softmax(-1).type_as(v) @ v).transpose(1, 2).flatten(2))


class Made(Base):
    """Of float32, if nobody says another type."""

    def forward(self, x):
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        bias = torch.zeros(t, t, device=x.device).masked_fill(future, -1e9)
        return self.attend(x, bias)


class Compared(Base):
    def forward(self, x):
        t = x.shape[1]
        future = torch.triu(torch.ones(t, t, device=x.device), 1)
        bias = future.masked_fill(future == 1, -1e9)
        return self.attend(x, bias.to(x.dtype))


class Cast(Base):
    def forward(self, x, mask):
        bias = (1.0 - mask.float()).masked_fill(mask == 0, -1e9)
        return self.attend(x, bias)


class Whole(Base):
    def forward(self, x, mask):
        bias = mask.long()
        bias = bias.masked_fill(bias == 0, -1000000000)
        return self.attend(x, bias)


class Kept(Base):
    """Filled while the module is built, in float32."""

    def __init__(self, dim, heads, longest=32):
        super().__init__(dim, heads)
        future = torch.ones(longest, longest, dtype=torch.bool).triu(1)
        self.register_buffer("bias", torch.zeros(longest, longest).masked_fill(future, -1e9))

    def forward(self, x):
        return self.attend(x, self.bias[: x.shape[1], : x.shape[1]])


class Lowest(Base):
    def forward(self, x, mask):
        bias = mask.masked_fill(mask == 0, torch.finfo(mask.dtype).min)
        return self.attend(x, bias.masked_fill(mask == 1, 0.0))


class ByType(Base):
    def forward(self, x, mask):
        lowest = -1e4 if x.dtype == torch.float16 else -1e9
        return self.attend(x, mask.masked_fill(mask == 0, lowest))


class Condition(Base):
    """A boolean mask, of which the fill makes no more than True."""

    def forward(self, x, mask):
        hidden = mask == 0
        hidden = hidden.masked_fill(hidden, -1e9)
        return self.attend(x, hidden * -1e4)


class Chosen(Base):
    def forward(self, x):
        t = x.shape[1]
        place = torch.arange(t, device=x.device)
        return self.attend(x, torch.where(place[:, None] >= place, 0.0, -1e9))


def unseen(x, mask):
    """It comes to no softmax."""
    return (x + mask.masked_fill(mask == 0, -1e9)).argmax(-1)
