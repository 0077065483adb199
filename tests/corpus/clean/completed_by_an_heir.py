# run: Projected(24, 4)(torch.randn(2, 5, 24))
# run: Residual(24)(torch.randn(2, 5, 24))
import torch
from torch import nn


class Merging(nn.Module):
    """Complete once a class is built on it."""

    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads, self.in_proj = num_heads, nn.Linear(width, 3 * width)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in self.in_proj(x).chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Projected(Merging):
    def __init__(self, width, num_heads):
        super().__init__(width, num_heads)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        return self.out_proj(super().forward(x))


class OneHead(nn.Module):
    """One head, whose projection others apply."""

    def __init__(self, width):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        weights = (self.q(x) @ self.k(x).transpose(1, 2) * x.size(-1) ** -0.5).softmax(-1)
        return weights @ self.v(x)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = OneHead(width)

    def forward(self, x):
        return x + self.attention.out_proj(self.attention(x))
