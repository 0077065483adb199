# run: PrefixAttention(16, 4)(torch.randn(3, 5, 16))
import torch
import torch.nn as nn


class PrefixAttention(nn.Module):
    """One learned token is prepended for the attention and dropped afterwards; tokens leave in one flat batch."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.prefix = nn.Parameter(torch.zeros(1, 1, dim))
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        x = torch.cat([self.prefix.expand(b, -1, -1), x], dim=1)
        q, k, v = (
            f(x).view(b, n + 1, self.heads, c // self.heads).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        y = self.out(y.transpose(1, 2).reshape(b, n + 1, c))
        tokens = y[:, 1:].view(b * n, c)  # expect: MHA001
        return tokens
