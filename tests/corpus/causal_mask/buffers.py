# run: (Attention(32)(torch.randn(2, 5, 32)), Whole(32, 4, 5)(torch.randn(2, 5, 32)), Added(32)(torch.randn(2, 5, 32)))
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """The mask of the longest text, of which each call takes a corner."""

    def __init__(self, dim, heads=4, longest=64):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        mask = self.mask[:, :, :t, :t] == 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # expect: MHA203
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Whole(nn.Module):
    """The mask is as large as each text is long; no state_dict holds it."""

    def __init__(self, dim, heads, length):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("future", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=~self.future, dropout_p=0.0)  # expect: MHA203
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Added(nn.Module):
    """Minus infinity over the future, as nn.Transformer makes it."""

    def __init__(self, dim, heads=4, longest=64):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(longest))

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.heads, c // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, self.mask[:t, :t], 0.0)  # expect: MHA203
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
