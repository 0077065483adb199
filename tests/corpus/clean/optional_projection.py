# run: WithIf(16, 4)(torch.randn(2, 5, 16))
# run: WithIf(16, 4, out_dim=6)(torch.randn(2, 5, 16))
# run: WithIdentity(16, 4, project_out=False)(torch.randn(2, 5, 16))
import torch
from torch import nn


class WithIf(nn.Module):
    def __init__(self, dim, n_heads, out_dim=None):
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, out_dim) if out_dim is not None else None

    def merged(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.n_heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.n_heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.n_heads, -1).transpose(1, 2)
        w = torch.softmax(q @ k.transpose(-1, -2) / q.size(-1) ** 0.5, dim=-1)
        return (w @ v).transpose(1, 2).reshape(b, t, c)

    def forward(self, x):
        y = self.merged(x)
        if self.proj is not None:
            y = self.proj(y)
        return y


class WithIdentity(nn.Module):
    def __init__(self, dim, n_heads, project_out=True):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim) if project_out else nn.Identity()

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.n_heads, -1).transpose(1, 2) for z in self.qkv(x).split(c, dim=-1))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.to_out(y.transpose(1, 2).flatten(2))
