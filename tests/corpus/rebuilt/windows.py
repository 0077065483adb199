# run: WindowAttention(24, 3, 4)(torch.randn(2, 12, 24))
# run: ChunkedAttention(24, 3, 5)(torch.randn(2, 5, 24))
# fix: unsafe
import torch
import torch.nn as nn


class WindowAttention(nn.Module):
    """Causal attention within windows; the mask of a window is the same in each call."""

    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        x = x.view(b * (t // self.window), self.window, c)
        q, k, v = self.qkv(x).view(-1, self.window, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        future = torch.ones(self.window, self.window, dtype=torch.bool, device=x.device).triu(1)  # expect: MHA204
        scores = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, c))


class ChunkedAttention(nn.Module):
    """The mask is made in a method that forward calls, and cut to the length of the call."""

    def __init__(self, dim, heads, longest):
        super().__init__()
        self.heads, self.longest = heads, longest
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def attend(self, q, k, v):
        t = q.shape[-2]
        seen = torch.tril(torch.ones(self.longest, self.longest, device=q.device)) == 0  # expect: MHA204
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        return scores.masked_fill(seen[:t, :t], float("-inf")).softmax(dim=-1) @ v

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(self.attend(q, k, v).transpose(1, 2).reshape(b, t, c))
