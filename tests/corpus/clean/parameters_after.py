# run: ByMatmul(24, 4)(torch.randn(2, 5, 24))
# run: ByLinear(24, 4)(torch.randn(2, 5, 24))
# run: ByEinsum(24, 4)(torch.randn(2, 5, 24))
"""Output projections kept as bare parameters."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import Parameter


class ByMatmul(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.w_qkv = Parameter(torch.randn(dim, 3 * dim) * dim**-0.5)
        self.w_o = Parameter(torch.randn(dim, dim) * dim**-0.5)

    def merged(self, x):
        b, t, c = x.shape
        q, k, v = (x @ self.w_qkv).chunk(3, dim=-1)
        q = q.reshape(b, t, self.heads, -1).transpose(1, 2)
        k = k.reshape(b, t, self.heads, -1).transpose(1, 2)
        v = v.reshape(b, t, self.heads, -1).transpose(1, 2)
        y = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return y.transpose(1, 2).reshape(b, t, c)

    def forward(self, x):
        return torch.matmul(self.merged(x), self.w_o)


class ByLinear(ByMatmul):
    def forward(self, x):
        return F.linear(self.merged(x), self.w_o)


class ByEinsum(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        d = dim // heads
        self.d = d
        self.w_q = Parameter(torch.randn(heads, dim, d))
        self.w_k = Parameter(torch.randn(heads, dim, d))
        self.w_v = Parameter(torch.randn(heads, dim, d))
        self.w_o = Parameter(torch.randn(heads, d, dim))

    def forward(self, x):
        q = torch.einsum("btc,hcd->bhtd", x, self.w_q)
        k = torch.einsum("btc,hcd->bhtd", x, self.w_k)
        v = torch.einsum("btc,hcd->bhtd", x, self.w_v)
        w = torch.einsum("bhtd,bhsd->bhts", q, k).div(self.d**0.5).softmax(dim=-1)
        context = torch.einsum("bhts,bhsd->bhtd", w, v)
        return torch.einsum("bhtd,hdc->btc", context, self.w_o)  # merges and projects at once
