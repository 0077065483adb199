# run: Layer(24, 4)(torch.randn(2, 5, 24))
# run: StackedHeads(24, 4)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn
import torch.nn.functional as F


class InnerAttention(nn.Module):
    """Computes the merged context; whoever uses it projects."""

    def __init__(self, n_heads):
        super().__init__()
        self.n_heads = n_heads

    def forward(self, q, k, v):
        b, t, c = q.shape
        q, k, v = (z.view(b, -1, self.n_heads, c // self.n_heads).transpose(1, 2) for z in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).reshape(b, t, c)


class Layer(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.inner = InnerAttention(n_heads)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        context = self.inner(*self.in_proj(x).chunk(3, dim=-1))
        return x + self.out_proj(context)


class Head(nn.Module):
    def __init__(self, dim, width):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, width), nn.Linear(dim, width), nn.Linear(dim, width)

    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) * self.q.out_features**-0.5, dim=-1) @ self.v(x)


class StackedHeads(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.heads = nn.ModuleList([Head(dim, dim // n_heads) for _ in range(n_heads)])
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        out = torch.cat([h(x) for h in self.heads], dim=-1)
        return self.dropout(self.proj(out))
