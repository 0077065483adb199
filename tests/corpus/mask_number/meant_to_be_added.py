# run: Boolean(32, 4)(torch.randn(2, 5, 32))
# run: Multiplied(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 1, 1, 5))
# run: FilledLater(32, 4)(torch.randn(2, 5, 32))
# run: Given(32, 4)(torch.randn(2, 5, 32), torch.zeros(5, 5))
# run: Learned(32, 4)(torch.randn(2, 5, 32))
# run: Distances(32, 4)(torch.randn(2, 5, 32))
# run: Layer(32, 4)(torch.randn(2, 5, 32))
"""Masks that are boolean, or that are numbers on purpose."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def fused(self, x, mask):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(0, 2, 3, 1, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def past(self, x):
        return torch.tril(torch.ones(x.shape[1], x.shape[1], device=x.device))


class Boolean(Base):
    def forward(self, x):
        return self.fused(x, self.past(x).bool()) + self.fused(x, self.past(x) == 1)


class Multiplied(Base):
    def forward(self, x, keep):
        keep = keep.to(dtype=x.dtype)
        return self.fused(x, (1.0 - keep) * torch.finfo(x.dtype).min) + self.fused(x, (1 - self.past(x)) * -1e4)


class FilledLater(Base):
    def forward(self, x):
        mask = self.past(x)
        mask = mask.masked_fill(mask == 0, float("-inf"))
        return self.fused(x, mask)


class Given(Base):
    def forward(self, x, mask):
        return self.fused(x, mask.to(x.dtype))


class Learned(Base):
    """Starts as a triangle; what it becomes is learned."""

    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.bias = nn.Parameter(torch.tril(torch.ones(5, 5)))

    def forward(self, x):
        return self.fused(x, self.bias)


class Distances(Base):
    def forward(self, x):
        place = torch.arange(x.shape[1], device=x.device)
        return self.fused(x, -(place[:, None] - place[None, :]).abs().to(x.dtype))


class Layer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x):
        t = x.shape[1]
        mask = torch.full((t, t), float("-inf"), device=x.device).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]
