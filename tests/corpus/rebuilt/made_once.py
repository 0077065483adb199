# run: Registered(24, 3, 4)(torch.randn(2, 4, 24))
# run: Lazy(24, 3, 4)(torch.randn(2, 4, 24))
# run: OfTheCall(24, 3)(torch.randn(2, 4, 24))
# run: Padded(24, 3)(torch.randn(2, 4, 24), torch.tensor([4, 2]))
# run: Configured(24, 3, 4)(torch.randn(2, 4, 24))
from functools import lru_cache

import torch
import torch.nn as nn


@lru_cache(maxsize=8)
def future_of(length, device):
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


class Attention(nn.Module):
    """The mask is made once, or is another one in each call."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def attend(self, x, future):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        y = scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Registered(Attention):
    def __init__(self, dim, heads, length):
        super().__init__(dim, heads)
        self.register_buffer("future", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x):
        return self.attend(x, self.future)


class Lazy(Attention):
    def __init__(self, dim, heads, length):
        super().__init__(dim, heads)
        self.length = length
        self.future = None

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if self.future is None:
            self.future = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        y = scores.masked_fill(self.future, float("-inf")).softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class OfTheCall(Attention):
    """The length is that of the call."""

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        y = scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Padded(Attention):
    """The mask depends on what a tensor holds."""

    def forward(self, x, lengths):
        t = x.shape[1]
        position = torch.arange(t, device=x.device)
        hidden = (position >= lengths[:, None])[:, None, None] | future_of(t, x.device)
        return self.attend(x, hidden)


class Configured(Attention):
    """Whoever holds the module may set another length between calls."""

    def __init__(self, dim, heads, length):
        super().__init__(dim, heads)
        self.length = length

    def set_length(self, length):
        self.length = length

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        future = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        y = scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
