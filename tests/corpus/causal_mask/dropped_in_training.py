# run: Attention(32)(torch.randn(2, 5, 32))
# fix: unsafe
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Weights are dropped: on a GPU another kernel draws other random numbers."""

    def __init__(self, dim, heads=4, dropout=0.1):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        rate = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)  # expect: MHA203
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
