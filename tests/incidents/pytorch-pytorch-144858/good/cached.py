import torch
import torch.nn.functional as F
from torch import nn


class CachedAttention(nn.Module):
    """Keeps keys and values from call to call, so that a text is written token by token."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.k_cache = None
        self.v_cache = None

    def reset(self):
        self.k_cache = self.v_cache = None

    def forward(self, x, use_cache=False):
        b, t, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(b, t, self.heads, -1).transpose(1, 2)
        k = k.view(b, t, self.heads, -1).transpose(1, 2)
        v = v.view(b, t, self.heads, -1).transpose(1, 2)
        if use_cache:
            if self.k_cache is not None:
                k = torch.cat((self.k_cache, k), dim=2)
                v = torch.cat((self.v_cache, v), dim=2)
            self.k_cache, self.v_cache = k, v
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.size(2) == k.size(2))
        return self.out(y.transpose(1, 2).reshape(b, t, c))
