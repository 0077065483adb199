# run: Attention(24, 3)(torch.randn(2, 4, 24), torch.ones(2, 4, dtype=torch.bool))
# run: Varlen(24, 3)(torch.randn(1, 6, 24), torch.tensor([0, 2, 6]))
# select: MHA206
# fix: none (what to compute without the number is not known)
import torch
import torch.nn as nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("temperature", torch.ones(1))

    def longest(self, mask: torch.Tensor) -> int:
        return int(mask.sum(-1).max())  # expect: MHA206

    def forward(self, x, mask):
        b, t, c = x.shape
        while torch.any(x > 1e4):  # expect: MHA206
            x = x / 2
        x = x[:, : self.longest(mask)]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        if not mask.all():  # expect: MHA206
            scores = scores.masked_fill(~mask[:, None, None, : k.shape[-2]], float("-inf"))
        weights = scores.softmax(dim=-1)
        weights = weights * 2 if (weights.sum(-1) < 0.5).any() else weights  # expect: MHA206
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Varlen(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, ends: torch.Tensor):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        lengths = ends[1:] - ends[:-1]
        parts = [torch.split(part, lengths.tolist(), dim=2) for part in (q, k, v)]  # expect: MHA206
        out = [(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v for q, k, v in zip(*parts)]
        return self.proj(torch.cat(out, dim=2).transpose(1, 2).flatten(2))
