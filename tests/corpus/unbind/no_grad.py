# run: FrozenAttention(24, 4)(torch.randn(2, 5, 24))
# run: FeatureExtractor(24, 4)(torch.randn(2, 5, 24))
"""A frozen teacher's attention, and one for serving."""
import torch
from torch import nn
import torch.nn.functional as F


class FrozenAttention(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.n_heads, c // self.n_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # no gradient here  # expect: MHA002
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class FeatureExtractor(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        with torch.inference_mode():
            qkv = self.qkv(x).reshape(b, n, 3, self.n_heads, c // self.n_heads).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind()  # expect: MHA002
            y = F.scaled_dot_product_attention(q, k, v)
            y = self.proj(y.transpose(1, 2).reshape(b, n, c))
        return y
