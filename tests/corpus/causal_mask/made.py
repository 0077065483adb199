# run: (Steps(32)(torch.randn(2, 5, 32)), Compared(32)(torch.randn(2, 5, 32)))
import torch
import torch.nn.functional as F
from torch import nn


class Steps(nn.Module):
    """The mask is made step by step in each call, and for it alone."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        mask = torch.zeros(t, t, device=x.device, dtype=q.dtype)
        future = torch.ones(t, t, device=x.device, dtype=torch.bool).triu(diagonal=1)
        mask.masked_fill_(future, float("-inf"))
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,  # expect: MHA203
            is_causal=False,
        )
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Compared(nn.Module):
    """The mask compares positions."""

    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        at = torch.arange(t, device=x.device)
        y = F.scaled_dot_product_attention(q, k, v, at[:, None] >= at[None, :])  # expect: MHA203
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
